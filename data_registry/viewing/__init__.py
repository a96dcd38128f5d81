"""Contact sheets: pictures with their boxes, fronts and questions, for people to look at."""
