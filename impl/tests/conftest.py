"""What all tests need: one thread."""

import torch

# several test processes on few cores would spend their time waiting for each other's threads
torch.set_num_threads(1)
