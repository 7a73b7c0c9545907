"""From raw images and texts to answers, with little Python before the graph."""
