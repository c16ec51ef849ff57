# What only ring9 has: see below.
