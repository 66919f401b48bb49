"""A scripted task of 20 steps: a small shop, three faults, and what an agent calls to find and mend them.

It has the measures of the study that the budget of a run is held against: 3 searches, 8 reads of 115 to 156
lines, 5 failing test runs that print 59 to 77 lines, 3 edits, then done.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tinsmith.dialects import Call

ISSUE = (
    "Totals of orders with a discount are wrong since the last release. An order of two boxes at 19.99 with ten "
    "percent off comes to 39.98 instead of 35.98, shipping is charged twice for express orders, and an invoice that "
    "was paid in two parts is still listed as open. The tests in tests/test_checkout.py show all three."
)

_RECORD = '''\
"""{title} of the shop: the records, the table that keeps them and the rules that hold between them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from shop.errors import Conflict, Invalid, Unknown
{imports}

MAX_{upper}_NOTES = 12
"""Longer lists of notes are refused; nobody reads them."""


@dataclass(frozen=True)
class {name}:
    """One {lower} as it is stored. A change makes a new record."""

    number: int
{fields}
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 1:
            raise Invalid(f"{lower} {{self.number}} has no proper number")
        if len(self.notes) > MAX_{upper}_NOTES:
            raise Invalid(f"{lower} {{self.number}} has too many notes")

    def with_note(self, text: str) -> "{name}":
        """The {lower} with one more note, blanks at its ends removed."""
        text = text.strip()
        if not text:
            return self
        return replace(self, notes=(*self.notes, text))

    def as_row(self) -> dict[str, object]:
        """The {lower} as a row of a table, for export."""
        row: dict[str, object] = {{"number": self.number}}
{as_row}
        row["notes"] = "; ".join(self.notes)
        return row

    @classmethod
    def from_row(cls, row: dict[str, str]) -> "{name}":
        """The {lower} of an exported row. Raises Invalid where a column is missing."""
        try:
            return cls(
                number=int(row["number"]),
{from_row}
                notes=tuple(note for note in row.get("notes", "").split("; ") if note),
            )
        except (KeyError, ValueError) as error:
            raise Invalid(f"not a {lower}: {{row!r}}") from error


{functions}

class {name}Table:
    """The {plural} by number, in the order in which they came."""

    def __init__(self, {plural}: Iterable[{name}] = ()) -> None:
        self._by_number: dict[int, {name}] = {{}}
        for {lower} in {plural}:
            self.add({lower})

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[{name}]:
        return iter(self._by_number.values())

    def __contains__(self, number: object) -> bool:
        return number in self._by_number

    def add(self, {lower}: {name}) -> None:
        """Takes in a {lower}. Raises Conflict where its number is taken."""
        if {lower}.number in self._by_number:
            raise Conflict(f"{lower} {{{lower}.number}} exists")
        self._by_number[{lower}.number] = {lower}

    def get(self, number: int) -> {name}:
        """The {lower} of this number. Raises Unknown where there is none."""
        try:
            return self._by_number[number]
        except KeyError:
            raise Unknown(f"there is no {lower} {{number}}") from None

    def change(self, {lower}: {name}) -> {name}:
        """Puts a {lower} in the place of the one with its number; what stood there."""
        before = self.get({lower}.number)
        self._by_number[{lower}.number] = {lower}
        return before

    def remove(self, number: int) -> {name}:
        """Takes a {lower} out and gives it back."""
        {lower} = self.get(number)
        del self._by_number[number]
        return {lower}

    def where(self, **wanted: object) -> list[{name}]:
        """The {plural} whose fields are all as wanted."""
        found = []
        for {lower} in self:
            if all(getattr({lower}, key) == value for key, value in wanted.items()):
                found.append({lower})
        return found

    def newest(self, count: int = 10) -> list[{name}]:
        """The last {plural}, the newest first."""
        numbers = sorted(self._by_number, reverse=True)
        return [self._by_number[number] for number in numbers[:count]]
'''

_ORDERS = '''\
def goods_total(order: Order) -> Decimal:
    """What the goods cost, before any discount, to the cent."""
    return to_cents(order.price * order.quantity)


def order_total(order: Order, discounts: "DiscountTable | None" = None) -> Decimal:
    """What the customer pays: goods, less the discount, and shipping.

    A discount is a share of the goods and never of the shipping.
    """
    goods = goods_total(order)
    if discounts is not None and order.code:
        goods -= discount_of(order, discounts)
    return to_cents(goods + shipping_of(order))


def shipping_of(order: Order) -> Decimal:
    """The price of shipping: by weight, and twice the base for express."""
    base = Decimal("4.90")
    weight = max(order.weight - Decimal(2), Decimal(0))
    price = base + weight * Decimal("0.80")
    if order.express:
        price = price + price
    return to_cents(price + base * order.express)


def is_large(order: Order) -> bool:
    """Whether somebody looks at the order before it is sent."""
    return goods_total(order) > Decimal(500) or order.quantity > 40

'''

_DISCOUNTS = '''\
def discount_of(order: "Order", discounts: "DiscountTable") -> Decimal:
    """What is taken off the goods of an order, to the cent; nothing for a code that has expired."""
    discount = discount_named(discounts, order.code)
    if discount is None or order.placed > discount.until:
        return Decimal(0)
    goods = order.price * order.quantity
    return to_cents(min(goods * discount.percent / 1000, discount.most))


def discount_named(discounts: "DiscountTable", code: str) -> "Discount | None":
    """The discount of this code, however it is written."""
    for discount in discounts:
        if discount.code.casefold() == code.strip().casefold():
            return discount
    return None


def best_of(discounts: "DiscountTable", order: "Order") -> "Discount | None":
    """The discount that takes most off, the older one among equals."""
    valid = [discount for discount in discounts if order.placed <= discount.until]
    if not valid:
        return None
    return max(valid, key=lambda discount: (discount.percent, -discount.number))

'''

_INVOICES = '''\
def paid_so_far(invoice: Invoice) -> Decimal:
    """The sum of the payments that have come in, in the order of their dates."""
    total = Decimal(0)
    for payment in invoice.payments:
        total = payment
    return to_cents(total)


def is_open(invoice: Invoice) -> bool:
    """Whether something is still to be paid; a cent is forgiven."""
    return invoice.amount - paid_so_far(invoice) > Decimal("0.01")


def reminder(invoice: Invoice, today: int) -> str:
    """What the customer is written, nothing where there is no need."""
    if not is_open(invoice) or today <= invoice.due:
        return ""
    late = today - invoice.due
    missing = to_cents(invoice.amount - paid_so_far(invoice))
    if late < 14:
        return f"Invoice {invoice.number}: {missing} are due."
    return f"Invoice {invoice.number}: {missing} are {late} days late."

'''

_STOCK = '''\
def free_pieces(item: Item) -> int:
    """Pieces that can be sold: those there are, less those that are promised."""
    return max(item.pieces - item.promised, 0)


def promise(item: Item, pieces: int) -> Item:
    """The item with more pieces promised. Raises Conflict where there are too few."""
    if pieces > free_pieces(item):
        raise Conflict(f"only {free_pieces(item)} of {item.name} are left")
    return replace(item, promised=item.promised + pieces)


def value_of(items: Iterable[Item]) -> Decimal:
    """What the stock is worth at the prices it was bought for."""
    return to_cents(sum((item.cost * item.pieces for item in items), Decimal(0)))

'''

_CUSTOMERS = '''\
def full_name(customer: Customer) -> str:
    """The name as it stands on a letter."""
    return " ".join(part for part in (customer.title, customer.name) if part)


def may_pay_later(customer: Customer, today: int) -> bool:
    """Whether an invoice is enough: for those who have been with us for a year."""
    return customer.known and today - customer.since >= 365


def letter(customer: Customer, lines: Iterable[str]) -> str:
    """A letter with one paragraph a line, greeting and end added."""
    text = [f"Dear {full_name(customer)},"]
    for line in lines:
        text.append(line.strip())
    text.append("Your shop")
    return "\\n\\n".join(text)


def same_person(first: Customer, second: Customer) -> bool:
    """Whether two records are of one person: the same mail address, however it is written."""
    return first.mail.strip().casefold() == second.mail.strip().casefold()

'''

_MONEY = '''\
"""Amounts of money: decimals to the cent, rounded half up, as an invoice has them."""

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")


def to_cents(amount: Decimal) -> Decimal:
    """The amount to the cent; half a cent goes up."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)


def parse_amount(text: str) -> Decimal:
    """An amount as people write it: blanks and a currency sign are passed over."""
    return to_cents(Decimal(text.strip().lstrip("$").replace(",", "")))
'''

_ERRORS = '''\
"""What can be wrong with a record."""


class Invalid(ValueError):
    """A field holds what it cannot."""


class Unknown(LookupError):
    """There is no record of this number."""


class Conflict(RuntimeError):
    """Two records cannot be true at once."""
'''

_TESTS = '''\
"""Checkout from the order to the paid invoice."""

from dataclasses import replace
from decimal import Decimal

import pytest

from shop.discounts import Discount, DiscountTable, best_of, discount_of
from shop.errors import Conflict, Invalid, Unknown
from shop.invoices import Invoice, InvoiceTable, is_open, paid_so_far, reminder
from shop.items import Item, free_pieces, promise, value_of
from shop.orders import Order, OrderTable, goods_total, is_large, order_total, shipping_of


@pytest.fixture
def discounts():
    return DiscountTable(
        [
            Discount(1, code="SPRING", percent=Decimal(10), most=Decimal(50), until=200),
            Discount(2, code="FRIENDS", percent=Decimal(25), most=Decimal(20), until=300),
        ]
    )


def make_order(**changes):
    fields = {
        "customer": "Ada",
        "price": Decimal("19.99"),
        "quantity": 2,
        "weight": Decimal(1),
        "express": False,
        "code": "",
        "placed": 100,
    }
    return Order(1, **{**fields, **changes})


class TestOrders:
    def test_goods_are_price_times_quantity(self):
        assert goods_total(make_order()) == Decimal("39.98")

    def test_discount_is_taken_off_the_goods(self, discounts):
        order = make_order(code="spring")
        without = order_total(make_order())
        assert without == Decimal("44.88")
        expected = without - Decimal("4.00")
        total = order_total(order, discounts)
        assert total == expected, f"{order.customer} pays {total} with {order.code}"

    def test_an_expired_discount_takes_nothing_off(self, discounts):
        order = make_order(code="SPRING", placed=250)
        assert discount_of(order, discounts) == 0

    def test_a_discount_has_a_limit(self, discounts):
        order = make_order(code="FRIENDS", quantity=200)
        assert discount_of(order, discounts) == Decimal("20.00")

    def test_express_is_twice_the_base(self):
        assert shipping_of(make_order()) == Decimal("4.90")
        heavy = make_order(express=True, weight=Decimal(4))
        light = make_order(express=True)
        prices = {"light": shipping_of(light), "heavy": shipping_of(heavy)}
        assert prices == {"light": Decimal("9.80"), "heavy": Decimal("13.00")}

    def test_express_is_part_of_the_total(self):
        order = make_order(express=True, quantity=1)
        goods, shipping = goods_total(order), shipping_of(order)
        assert goods == Decimal("19.99")
        assert order_total(order) == goods + shipping
        assert shipping == Decimal("9.80"), f"{order.customer} pays {shipping} for express"

    def test_large_orders_are_looked_at(self):
        assert is_large(make_order(quantity=41))
        assert not is_large(make_order())

    def test_orders_have_a_number(self):
        with pytest.raises(Invalid):
            replace(make_order(), number=0)


class TestInvoices:
    def make(self, *payments, due=30):
        amounts = tuple(Decimal(text) for text in payments)
        return Invoice(7, order=1, amount=Decimal("35.98"), due=due, payments=amounts)

    def test_an_unpaid_invoice_is_open(self):
        assert is_open(self.make())
        assert is_open(self.make("20.00"))

    def test_two_payments_close_an_invoice(self):
        invoice = self.make("20.00", "15.98")
        table = InvoiceTable([invoice])
        still_open = [each.number for each in table if is_open(each)]
        assert still_open == [], reminder(invoice, today=50)

    def test_only_what_is_missing_is_asked_for(self):
        invoice = self.make("20.00", "5.98")
        text = reminder(invoice, today=40)
        assert text == "Invoice 7: 10.00 are due."

    def test_many_small_payments_add_up(self):
        payments = ["5.00"] * 7
        invoice = self.make(*payments, "0.98")
        assert sum(invoice.payments) == invoice.amount
        assert paid_so_far(invoice) == invoice.amount
        assert not is_open(invoice)

    def test_a_late_invoice_is_reminded(self):
        assert reminder(self.make("5.98"), today=40) == "Invoice 7: 30.00 are due."
        assert reminder(self.make("5.98"), today=60) == "Invoice 7: 30.00 are 30 days late."
        assert reminder(self.make("35.98"), today=60) == ""

    def test_an_invoice_is_found_by_its_order(self):
        table = InvoiceTable([self.make()])
        assert [invoice.number for invoice in table.where(order=1)] == [7]
        with pytest.raises(Unknown):
            table.get(8)


class TestStock:
    def make(self, **changes):
        fields = {"name": "box", "pieces": 10, "promised": 3, "cost": Decimal("2.50")}
        return Item(3, **{**fields, **changes})

    def test_promised_pieces_are_not_free(self):
        assert free_pieces(self.make()) == 7
        assert free_pieces(promise(self.make(), 7)) == 0

    def test_more_than_there_is_cannot_be_promised(self):
        with pytest.raises(Conflict):
            promise(self.make(), 8)

    def test_the_worth_of_the_stock(self):
        assert value_of([self.make(), self.make(pieces=1)]) == Decimal("27.50")


def test_the_best_discount(discounts):
    assert best_of(discounts, make_order()).code == "FRIENDS"
    assert best_of(discounts, make_order(placed=400)) is None


def test_tables_refuse_a_number_twice():
    table = OrderTable([make_order()])
    with pytest.raises(Conflict):
        table.add(make_order(quantity=3))
    assert len(table) == 1
'''

_FIELDS = {
    "Order": {
        "customer": "str",
        "price": "Decimal",
        "quantity": "int",
        "weight": "Decimal",
        "express": "bool",
        "code": "str",
        "placed": "int",
    },
    "Discount": {"code": "str", "percent": "Decimal", "most": "Decimal", "until": "int"},
    "Invoice": {"order": "int", "amount": "Decimal", "due": "int", "payments": "tuple[Decimal, ...]"},
    "Customer": {"title": "str", "name": "str", "mail": "str", "known": "bool", "since": "int"},
    "Item": {"name": "str", "pieces": "int", "promised": "int", "cost": "Decimal"},
}


def _record(name: str, functions: str, imports: str) -> str:
    lower, fields = name.lower(), _FIELDS[name]
    readers = {
        "bool": 'row["{}"] == "True"',
        "tuple[Decimal, ...]": 'tuple(map(Decimal, row["{}"].split()))',
        "str": 'row["{}"]',
    }
    return _RECORD.format(
        name=name,
        lower=lower,
        upper=lower.upper(),
        plural=lower + "s",
        title=f"{name}s",
        imports=imports,
        fields="\n".join(f"    {field}: {kind}" for field, kind in fields.items()),
        as_row="\n".join(f'        row["{field}"] = self.{field}' for field in fields),
        from_row="\n".join(
            f"                {field}={readers.get(kind, kind + '(row[{!r}])').format(field)},".replace("'", '"')
            for field, kind in fields.items()
        ),
        functions=functions,
    )


def files() -> dict[str, str]:
    """The repository, by path."""
    money = "from shop.money import to_cents"
    return {
        "shop/__init__.py": "",
        "shop/money.py": _MONEY,
        "shop/errors.py": _ERRORS,
        "shop/orders.py": _record("Order", _ORDERS, f"from shop.discounts import DiscountTable, discount_of\n{money}"),
        "shop/discounts.py": _record("Discount", _DISCOUNTS, money),
        "shop/invoices.py": _record("Invoice", _INVOICES, money),
        "shop/customers.py": _record("Customer", _CUSTOMERS, money),
        "shop/items.py": _record("Item", _STOCK, money),
        "tests/test_checkout.py": _TESTS,
    }


def make_repository(top: Path) -> None:
    """Writes the shop below `top` and commits it."""
    for path, content in files().items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(content)
    git = ["git", "-C", str(top), "-c", "user.name=Shop", "-c", "user.email=shop@localhost"]
    subprocess.run(["git", "init", "-q", str(top)], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "A shop"], check=True)


@dataclass(frozen=True)
class Step:
    """A call, and the command that a client which sends raw outputs would run for it."""

    call: Call
    raw: str


def steps() -> list[Step]:
    """The 20 calls."""
    shop = files()

    def line(path: str, text: str) -> int:
        return shop[path].split("\n").index(text) + 1

    def search(pattern: str, path: str) -> Step:
        arguments = {"pattern": pattern} | ({"path": path} if path != "." else {})
        return Step(Call("search", arguments), f"grep -rn --include='*.py' '{pattern}' {path}")

    def read(path: str, start: int, end: int) -> Step:
        arguments = {"path": path, "start": str(start), "end": str(end)}
        return Step(Call("read", arguments), f"sed -n '{start},{end}p' {path}")

    def edit(path: str, old: str, new: str) -> Step:
        at = str(line(path, old))
        call = Call("edit", {"path": path, "start": at, "end": at, "new": new})
        return Step(call, f"echo 'The file {path} was edited.'")

    def test(command: str) -> Step:
        return Step(Call("run", {"command": command}), command)

    checkout = "tests/test_checkout.py"
    return [
        test(f"python -m pytest {checkout}::TestOrders"),
        search("discount_of", "."),
        read("shop/discounts.py", 1, 140),
        read(checkout, 1, 146),
        edit(
            "shop/discounts.py",
            "    return to_cents(min(goods * discount.percent / 1000, discount.most))",
            "    return to_cents(min(goods * discount.percent / 100, discount.most))",
        ),
        test(f"python -m pytest {checkout} -k 'Invoices or part_of'"),
        search("to_cents", "shop"),
        read("shop/orders.py", 1, 156),
        edit("shop/orders.py", "    return to_cents(price + base * order.express)", "    return to_cents(price)"),
        test(f"python -m pytest {checkout}"),
        read("shop/orders.py", 40, 159),
        read("shop/items.py", 1, 135),
        search("payments", "."),
        read("shop/invoices.py", 1, 142),
        test(f"python -m pytest {checkout}::TestInvoices"),
        read("shop/customers.py", 1, 140),
        test(f"python -m pytest {checkout}"),
        read("shop/invoices.py", 24, 142),
        edit("shop/invoices.py", "        total = payment", "        total += payment"),
        Step(Call("finish", {"summary": "Percent, shipping and the sum of payments were wrong."}), ""),
    ]
