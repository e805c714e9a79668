/** What kernels reach on a GPU, beside its own copy and its own product, measured in the same run. */
package ai.lram.bench.gpu;
