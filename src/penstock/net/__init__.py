"""What may be dialled from here, and the dialling."""
