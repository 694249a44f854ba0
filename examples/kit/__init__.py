"""What the examples of whole systems share: commands in two sizes, kept results, training, export, tests, pages."""
