package ai.lram.backend.ops;

import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;

/**
 * Working memory of {@link SessionOps#mlstmBlock} for a batch of B rows of L tokens, shared by all blocks; its contents mean nothing between calls.
 *
 * @param normed (B, L, D); {@code y} alike
 * @param u (B, L, I); {@code z}, {@code conv}, {@code c}, {@code mixed} alike
 * @param q (B, L, NH, I/NH); {@code k}, {@code v}, {@code h} alike
 * @param inputGate (B, L, NH); {@code forgetGate} alike
 */
public record MlstmBlockMemory(
        Tensor normed,
        Tensor u,
        Tensor z,
        Tensor conv,
        Tensor c,
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor inputGate,
        Tensor forgetGate,
        Tensor h,
        Tensor mixed,
        Tensor y) {
    public static MlstmBlockMemory allocate(TensorArena arena, int batch, int tokens, int width, int inner, int heads) {
        return new MlstmBlockMemory(
                arena.f32(batch, tokens, width),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, heads),
                arena.f32(batch, tokens, heads),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, width));
    }

    /** The same memory for the first {@code batch} rows. */
    public MlstmBlockMemory rows(int batch) {
        return rows(0, batch);
    }

    /** The same memory for {@code batch} rows from {@code first} on. */
    public MlstmBlockMemory rows(int first, int batch) {
        return new MlstmBlockMemory(
                normed.slice(first, batch),
                u.slice(first, batch),
                z.slice(first, batch),
                conv.slice(first, batch),
                c.slice(first, batch),
                q.slice(first, batch),
                k.slice(first, batch),
                v.slice(first, batch),
                inputGate.slice(first, batch),
                forgetGate.slice(first, batch),
                h.slice(first, batch),
                mixed.slice(first, batch),
                y.slice(first, batch));
    }
}
