filter byte42 * 42 b:(byte 42) * => b;
