"""What goes out to other programs and other KOPs, and what comes in from them.

``onnx``         a model for programs that know nothing of KOP
``tensorboard``  the epochs of a run for TensorBoard
``bundles``      a model's folder as a zip archive, out and in
"""
