package ai.lram.backend.cuda;

/**
 * A loaded kernel.
 *
 * @param name as in its source
 * @param function the driver's handle
 */
record Kernel(String name, long function) {}
