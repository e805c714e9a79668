package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.ops.MlstmDims;

/**
 * What the mLSTM kernels on tensor cores can do on one device with operands of one type, from the shared memory they need.
 *
 * @param backward whether all kernels are used, or only the windows' forward one
 * @param window most tokens of a window: one chunk from the fresh state
 * @param chunk most tokens of a chunk between states, and their number unless the caller says otherwise; 0 where there are none
 * @param windowGroups tokens / 16 that the window's backward kernel is built for; 0 where it is not used
 * @param chunkGroups the same of the chunks' backward kernel by mma.sync; 0 where it is not used
 * @param warpgroups products of warpgroups (wgmma) instead, for what chunks add and for their gradients
 */
record TensorCoreLimits(
        DType operands,
        boolean backward,
        int window,
        int chunk,
        int windowGroups,
        int chunkGroups,
        boolean warpgroups) {
    /** Bytes of a row of a tile: as in {@code mlstm_common.cuh}. */
    static final int ROW = 128;

    static final int GROUP = 16;

    /** Widest keys, so that the forward kernel's normaliser fits beside its tiles on every device. */
    static final int WIDEST_KEYS = 4096;

    /** Most keys of a head that the chunks' backward by warpgroups holds in shared memory: as in the source. */
    static final int KEPT_KEYS = 256;

    private static final int LONGEST_WINDOW = 160;
    private static final int[] GROUPS = {10, 8, 6, 4};
    private static final int MOST_WINDOW_GROUPS_F32 = 6;
    private static final int MOST_CHUNK_GROUPS = 8;

    /**
     * Tiling of a forward kernel: 16 warps query tokens against 16 groups key tokens.
     *
     * @param blocks least blocks to a multiprocessor that its registers are cut for
     */
    record Tiling(int warps, int groups, int stages, int blocks) {
        /** As {@code forwardSharedBytes} in the source. */
        int sharedBytes(int dimQk, boolean state) {
            return stages * (GROUP * warps + GROUP * groups) * ROW
                    + (2 * warps + 2) * Double.BYTES
                    + 6 * GROUP * groups * Float.BYTES
                    + (state ? (dimQk + 63) / 64 * 64 * Float.BYTES : 0);
        }

        int threads() {
            return 32 * warps;
        }

        /** Blocks for one chunk. */
        int queryTiles(int chunk) {
            return (chunk + GROUP * warps - 1) / (GROUP * warps);
        }
    }

    /** For windows of up to 160 tokens. */
    Tiling windowTiling() {
        return new Tiling(5, 10, 2, operands == DType.BF16 ? 3 : 1);
    }

    /** For chunks, and for windows of 81 to 128 tokens in bf16. */
    Tiling chunkTiling() {
        return new Tiling(8, 8, 2, operands == DType.BF16 ? 2 : 1);
    }

    /** Columns of a slice. */
    static int width(DType operands) {
        return ROW / operands.bytes();
    }

    /** Elements in 16 bytes. */
    static int vector(DType operands) {
        return 16 / operands.bytes();
    }

    /** As {@code backwardSharedBytes} in the source. */
    static int backwardSharedBytes(int groups, int width, boolean state) {
        int rows = GROUP * groups;
        return (4 + 2 * ((rows + width - 1) / width)) * rows * ROW
                + (state ? 4 * width * ROW : 0)
                + groups * GROUP * ROW
                + (2 * groups + 2) * Double.BYTES
                + (state ? 9 : 7) * rows * Float.BYTES;
    }

    /** As {@code backwardKeptSharedBytes} in the source. */
    static int backwardKeptSharedBytes() {
        return (13 * 128 + 8 * 8) * ROW + 18 * Double.BYTES + (9 * 128 + 2 * KEPT_KEYS) * Float.BYTES + 16 * 7;
    }

    /** As {@code backwardLeanSharedBytes} in the source. */
    static int backwardLeanSharedBytes() {
        return (12 * 128 + 8 * 16) * ROW + 18 * Double.BYTES + 11 * 128 * Float.BYTES + 16 * 4;
    }

    /** As {@code chunkStatesSm90SharedBytes} in the source. */
    static int warpgroupStatesSharedBytes() {
        return 4 * 128 * ROW + 2 * 128 * Float.BYTES;
    }

    /** As {@code chunkStatesSharedBytes} in the source. */
    static int statesSharedBytes(int chunk) {
        int part = 64;
        return 2 * 4 * part * ROW + 2 * ((chunk + part - 1) / part * part) * Float.BYTES;
    }

    private static int groups(int most, int width, boolean state, int sharedBytes) {
        for (int g : GROUPS) {
            if (g <= most && backwardSharedBytes(g, width, state) <= sharedBytes) {
                return g;
            }
        }
        return 0;
    }

    /**
     * @param backward whether more than the windows' forward kernel shall be used
     * @param warpgroups whether wgmma may be used where the device has it
     * @return null where the device is too old or too small
     */
    static TensorCoreLimits of(Device device, DType operands, boolean backward, boolean warpgroups) {
        int shared = device.sharedBytes();
        boolean bf16 = operands == DType.BF16;
        TensorCoreLimits windows = new TensorCoreLimits(operands, false, LONGEST_WINDOW, 0, 0, 0, false);
        if (device.capability() < 80
                || windows.windowTiling().sharedBytes(0, false) > shared
                || windows.chunkTiling().sharedBytes(WIDEST_KEYS, true) > shared) {
            return null;
        }
        if (!backward) {
            return windows;
        }
        // Hopper's own instructions, which no other architecture has.
        boolean wgmma = bf16
                && warpgroups
                && device.capability() == 90
                && backwardKeptSharedBytes() <= shared
                && backwardLeanSharedBytes() <= shared
                && warpgroupStatesSharedBytes() <= shared;
        int width = width(operands);
        int window = groups(bf16 ? GROUPS[0] : MOST_WINDOW_GROUPS_F32, width, false, shared);
        int chunk = wgmma
                ? MOST_CHUNK_GROUPS
                : groups(bf16 ? MOST_CHUNK_GROUPS : MOST_WINDOW_GROUPS_F32, width, true, shared);
        return window == 0 || chunk == 0
                ? null
                : new TensorCoreLimits(operands, true, GROUP * window, GROUP * chunk, window, wgmma ? 0 : chunk, wgmma);
    }

    /** Rows are whole 16-byte vectors, and the normaliser of the keys fits. */
    boolean take(MlstmDims d) {
        int vector = vector(operands);
        return d.dimQk() % vector == 0 && d.dimHv() % vector == 0 && d.dimQk() <= WIDEST_KEYS;
    }
}
