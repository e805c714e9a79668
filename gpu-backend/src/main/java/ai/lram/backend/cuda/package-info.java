/**
 * The CUDA engine: our own kernels ({@code src/main/cuda}), compiled at run time for the device found, and matrix products by cuBLASLt.
 *
 * <p>Three thin interfaces ({@link ai.lram.backend.cuda.Driver}, {@link ai.lram.backend.cuda.Nvrtc}, {@link ai.lram.backend.cuda.CublasLt})
 * are all that touches NVIDIA's libraries; every status code they return is checked and becomes one of the typed errors. Nothing here
 * prints or ends the process.
 */
package ai.lram.backend.cuda;
