"""What runs while the user does not: samples, learning, the gate. The only package with torch."""
