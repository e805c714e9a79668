package ai.lram.backend.ops;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import java.util.ArrayList;
import java.util.List;

/**
 * Working memory of {@link SessionOps#embed} for a batch of B rows of T tokens; its contents mean nothing between calls.
 *
 * @param encoded of token t: (B, D) F32. With one row, whose tokens lie one after the other, the parts of {@code joined}
 * @param joined (B, T, D) F32
 */
public record EmbedMemory(List<Tensor> encoded, Tensor joined) {
    public EmbedMemory {
        encoded = List.copyOf(encoded);
        if (joined.rank() != 3 || joined.dim(1) != encoded.size()) {
            throw new ShapeMismatchException(
                    "embedding memory " + joined + " for " + encoded.size() + " tokens",
                    "it is (B, T, D)",
                    "allocate it by EmbedMemory.allocate");
        }
        for (int t = 0; t < encoded.size(); t++) {
            Tensor e = encoded.get(t);
            long there = joined.address() + (long) Float.BYTES * t * joined.dim(2);
            if (e.size() != (long) joined.dim(0) * joined.dim(2) || joined.dim(0) == 1 && e.address() != there) {
                throw new ShapeMismatchException(
                        "embedding memory " + e + " of token " + t,
                        "it is (B, D), and with one row part of " + joined,
                        "take it from EmbedMemory.allocate and rows");
            }
        }
    }

    /** For {@code batch} rows of {@code tokens} tokens, {@code width} wide. */
    public static EmbedMemory allocate(TensorArena arena, int batch, int tokens, int width) {
        Tensor joined = arena.f32(batch, tokens, width);
        List<Tensor> encoded = new ArrayList<>();
        for (int t = 0; t < tokens; t++) {
            encoded.add(batch == 1 ? joined.view((long) t * width, 1, width) : arena.f32(batch, width));
        }
        return new EmbedMemory(encoded, joined);
    }

    /** The same memory for the first {@code batch} rows. */
    public EmbedMemory rows(int batch) {
        int width = joined.dim(2);
        List<Tensor> parts = new ArrayList<>();
        for (int t = 0; t < encoded.size(); t++) {
            parts.add(
                    batch == 1
                            ? joined.view((long) t * width, 1, width)
                            : encoded.get(t).slice(0, batch));
        }
        return new EmbedMemory(parts, joined.slice(0, batch));
    }
}
