"""What somebody who wants harm can do to a model: four attacks, each bounded, and what they cost."""
