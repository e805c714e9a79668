package ai.lram.backend.cuda;

import java.util.Arrays;
import java.util.Locale;

/** The kernels that take the gradients of an mLSTM's chunks by warpgroup products: {@code mlstm_backward*_sm90.cu}. */
enum ChunkBackward {
    /** Two stages of copies, one in flight. */
    STAGES("", 256, 217_744),
    /** Four, copied by a warpgroup of their own. */
    LEAN("_lean", 384, 218_832),
    /** The same with keys kept on chip; up to {@link #KEPT_KEYS} of them, beyond which {@link #LEAN} takes over. */
    KEPT("_kept", 384, 228_096);

    /** The setting. */
    static final String PROPERTY = "lram.cuda.mlstm.chunkBackward";

    /** As in the source. */
    static final int KEPT_KEYS = 256;

    private final String suffix;
    private final int threads;
    private final int sharedBytes;

    ChunkBackward(String suffix, int threads, int sharedBytes) {
        this.suffix = suffix;
        this.threads = threads;
        this.sharedBytes = sharedBytes;
    }

    /** Which the setting names. */
    static ChunkBackward wanted() {
        String wanted = System.getProperty(PROPERTY, "stages");
        return Arrays.stream(values())
                .filter(x -> x.name().toLowerCase(Locale.ROOT).equals(wanted))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException(
                        "-D" + PROPERTY + "=" + wanted + " is none of stages, lean and kept; choose one of these"));
    }

    /** This, or what stands in for it where heads have {@code dimQk} keys. */
    ChunkBackward of(int dimQk) {
        return this == KEPT && dimQk > KEPT_KEYS ? LEAN : this;
    }

    Kernel load(Engine engine) {
        return new KernelModule(engine, "mlstm_backward" + suffix + "_sm90")
                .kernel("mlstm_backward_chunk" + suffix + "_sm90", sharedBytes);
    }

    static int mostSharedBytes() {
        return Arrays.stream(values())
                .mapToInt(ChunkBackward::sharedBytes)
                .max()
                .orElseThrow();
    }

    int threads() {
        return threads;
    }

    int sharedBytes() {
        return sharedBytes;
    }
}
