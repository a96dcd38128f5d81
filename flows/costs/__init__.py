"""What stage runs take: seconds, hours, dollars and memory, recorded or modelled."""
