"""How soon forgetting is told, and how often where nothing is lost: real small trainings, many of them."""
