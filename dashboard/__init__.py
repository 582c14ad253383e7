"""What the pages share: pieces that several draw, and models loaded behind them."""
