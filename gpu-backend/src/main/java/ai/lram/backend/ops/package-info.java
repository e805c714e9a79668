/**
 * The kernel SPI: one interface per kernel family. A method's Javadoc is the specification every engine implements and the shared
 * contract tests check.
 *
 * <p>Rules for all kernels. Tensors are dense and row-major, F32 unless said otherwise; {@code M} is a number of rows, the product
 * of all leading dimensions: kernels look at sizes, not at ranks. Outputs never overlap inputs unless "in place" is said.
 * <b>Gradients of activations are written, gradients of weights are added</b> to what the tensor holds (so micro-batches
 * accumulate); a null gradient tensor is not computed where that is said to be allowed. Kernels queue work on a stream, do not
 * synchronise with the host, allocate nothing and keep no state between calls; scratch memory is passed in. Shapes are checked
 * before anything is queued ({@link ai.lram.backend.ShapeMismatchException}). NaN in gives NaN out, in the same row or session only.
 */
package ai.lram.backend.ops;
