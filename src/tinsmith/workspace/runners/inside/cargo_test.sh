# Cargo starts each test binary through this: `sh cargo_test.sh BINARY ARGUMENTS`, in the binary's package.
# libtest writes JSON on stable Rust only when told that it is a compiler under construction; that is told to the
# test binary alone, since at build time it would change what is built.
report="$TINSMITH_REPORT_DIRECTORY/cargo-$$"
binary=$1
case $binary in
*/rustdoctest*)
    "$@"
    status=$?
    printf '%s\ndoctests\n%s\n' "$status" "$PWD" >"$report.end"
    exit $status
    ;;
esac
if [ "$TINSMITH_COLLECT" = 1 ]; then
    "$@" --list --format terse >"$report.list"
else
    RUSTC_BOOTSTRAP=1 "$@" -Z unstable-options --format json --report-time >>"$report.json"
fi
status=$?
{
    printf '%s\n%s\n%s\n' "$status" "$binary" "$PWD"
    head -n 1 "$binary.d"
} >"$report.end" 2>/dev/null
exit $status
