/**
 * The CPU engine: Vector API kernels over native memory, OpenBLAS and ND4J for large products. Work is split over outputs, never over
 * a reduction, so that results do not depend on the number of threads.
 */
package ai.lram.backend.cpu;
