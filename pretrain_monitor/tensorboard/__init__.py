"""What a run looks like in TensorBoard: panels are written while it trains, ``launch`` starts the server on them."""
