/**
 * Reverse-mode differentiation over the kernels of {@code ai.lram.backend.ops}: a {@link ai.lram.agent.autodiff.Tape} records kernels for
 * fixed shapes, a {@link ai.lram.agent.autodiff.Plan} places every value in one slab by liveness and replays the recording without
 * allocating.
 */
package ai.lram.agent.autodiff;
