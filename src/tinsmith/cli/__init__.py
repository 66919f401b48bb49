"""What did the person type, and how is the answer shown. Knows nothing of how anything is done."""
