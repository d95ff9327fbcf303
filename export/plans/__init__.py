"""TensorRT plans out of a bundle's graphs, and the bundle around them. The only package that imports tensorrt."""
