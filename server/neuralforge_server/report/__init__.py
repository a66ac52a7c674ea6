"""What was suggested, taken and kept, as one page of HTML that stands on its own."""
