"""Scripts and styles of pages: charts, cards and lists that the TensorBoard tab and reports share."""
