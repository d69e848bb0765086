"""What may be dialled from here."""
