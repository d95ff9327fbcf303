"""What a bundle takes on a board, predicted from shapes. A new board goes into `devices`, a published model into `published`."""
