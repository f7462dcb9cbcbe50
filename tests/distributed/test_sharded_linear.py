"""What ranks send for a linear layer; the layer itself on several ranks is in tests/ranks."""

from mscnn.distributed.sharded_linear import bytes_sent


def test_bytes_are_those_of_a_ring_and_of_the_activations():
    """4 ranks, 8 fields, 100 columns, 10 outputs: 2 x 1,000 x 3/4 numbers; 2 x 2 fields x 100 x 3/4, and 2 x 80 x 3/4."""
    found = bytes_sent(features=100, outputs=10, minibatch=8, size=4, in_bfloat16=False)
    assert found == {"replicated": 1500 * 4, "sharded": (300 + 120) * 4}
    half = bytes_sent(features=100, outputs=10, minibatch=8, size=4, in_bfloat16=True)
    assert half == {"replicated": 1500 * 2, "sharded": 300 * 2 + 120 * 4}
