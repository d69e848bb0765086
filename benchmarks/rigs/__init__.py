"""What benchmarks and tests need beside Penstock: stand-ins that speak real protocols."""
