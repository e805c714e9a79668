package ai.lram.backend.ops;

import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;

/**
 * Working memory of {@link AttentionOps#transformerBlocks} for a batch of B rows of L tokens, shared by all blocks; its contents mean nothing
 * between calls, but are finite.
 *
 * @param normed (B, L, D); {@code projected} alike
 * @param q (B, L, NH, D/NH); {@code k}, {@code v}, {@code attended} alike
 * @param hidden (B, L, F)
 */
public record TransformerBlockMemory(
        Tensor normed, Tensor q, Tensor k, Tensor v, Tensor attended, Tensor projected, Tensor hidden) {
    public static TransformerBlockMemory allocate(
            TensorArena arena, int batch, int tokens, int width, int heads, int inner) {
        return new TransformerBlockMemory(
                arena.f32(batch, tokens, width),
                arena.f32(batch, tokens, heads, width / heads),
                arena.f32(batch, tokens, heads, width / heads),
                arena.f32(batch, tokens, heads, width / heads),
                arena.f32(batch, tokens, heads, width / heads),
                arena.f32(batch, tokens, width),
                arena.f32(batch, tokens, inner));
    }

    /** The same memory for the first {@code batch} rows. */
    public TransformerBlockMemory rows(int batch) {
        return new TransformerBlockMemory(
                normed.slice(0, batch),
                q.slice(0, batch),
                k.slice(0, batch),
                v.slice(0, batch),
                attended.slice(0, batch),
                projected.slice(0, batch),
                hidden.slice(0, batch));
    }
}
