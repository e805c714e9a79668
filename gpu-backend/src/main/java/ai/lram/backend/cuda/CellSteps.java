package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** Launches {@code mlstm_step_cell.cu}: the mLSTM's step for any number of sessions, two kernels compiled for the sizes of a head. */
final class CellSteps {
    private static final int TOKENS = 3;

    /** Floats of a turn and of a head's report before what it says of each token, as in the source. */
    private static final int REPORT_FLOATS = 16;

    /** Value columns of a block: a whole head up to this width. */
    private static final int WHOLE_COLUMNS = 256;

    /** Of a wider head the most, and the fewest, whose fp32 is a line of the second-level cache and whose bf16 two sectors. */
    private static final int MOST_COLUMNS = 128;

    private static final int FEWEST_COLUMNS = 32;

    /** Of cell_answers, as in the source: what is on its way of C and values. */
    private static final long STAGES_BYTES = 4L * 4 * 16 * Engine.THREADS;

    /** Columns that a warp folds at once, and bytes of a part of 16 tokens' values for 16 columns, as in the source. */
    private static final int GROUP = 64;

    private static final long SQUARE_BYTES = 16 * 16 * Short.BYTES;

    /** Blocks that a multiprocessor has at once; with fewer, columns are cut finer. */
    private static final int BLOCKS = 2;

    /** Threads of the weights' kernels, each for as many heads as a multiprocessor has of it at once; the last for any number. */
    private static final int[] THREADS = {256, 128, 64};

    private static final int[] HEADS = {2, 8};

    private final Engine engine;
    private final int mostShared;
    /** Of a launch, heads that fold and others that have their turn: zero between launches. */
    private final long begun;

    private final Map<Sizes, Form> forms = new HashMap<>();

    /** What the kernels are compiled for. */
    private record Sizes(int dimQk, int dimHv, int columns, boolean sigmoid, boolean normalize, boolean narrow) {}

    /**
     * Gates as sums that a run of channels each has a share of.
     *
     * @param shares (B, runs, L, 2, NH), input gates before forget gates
     */
    record Gates(Tensor shares, Tensor inputBias, Tensor forgetBias, int runs) {
        private static final Gates NONE = new Gates(null, null, null, 0);
    }

    private record Form(Kernel[] weights, Kernel answers) {}

    CellSteps(Engine engine) {
        this.engine = engine;
        mostShared = engine.device().sharedBytes();
        begun = engine.lasting(2L * Integer.BYTES);
    }

    /** Whether the kernels take a call of these sizes; others have the plain ones. */
    boolean takes(MlstmStepCall c) {
        return c.tokens() <= TOKENS
                && c.dimQk() % 4 == 0
                && c.dimHv() % 4 == 0
                && aligned(c)
                && reportBytes(c) <= Engine.WORKSPACE
                && weightsBytes(c) <= mostShared
                && answersBytes(c, columns(c)) <= mostShared;
    }

    /** The kernels read four elements at once; a view may begin anywhere. */
    private static boolean aligned(MlstmStepCall c) {
        long all = c.state().matC().address()
                | c.state().vecN().address()
                | c.state().ringK().address()
                | c.state().ringV().address()
                | c.q().address()
                | c.k().address()
                | c.v().address();
        return all % 16 == 0;
    }

    /** Of one head, as {@code ReportOf} in the source. */
    private static long reportFloats(MlstmStepCall c) {
        long keys = (long) TOKENS * c.dimQk() * c.state().ringK().dtype().bytes();
        return REPORT_FLOATS + 4L * (c.ring() + TOKENS) + (keys + 15) / 16 * 4;
    }

    /** Of a row. */
    static long reportBytes(MlstmStepCall c) {
        return reportFloats(c) * c.heads() * Float.BYTES;
    }

    /** Shared memory of the weights' kernels: 6 doubles of the head, sums and inputs in fp64, queries, the fold's weights, products of queries and keys. */
    private static long weightsBytes(MlstmStepCall c) {
        long most = c.ring() + TOKENS;
        return Double.BYTES * (6 + 2 * most) + Float.BYTES * ((long) TOKENS * c.dimQk() + most + TOKENS * (most + 1));
    }

    /** Shared memory of cell_answers: stages of C and values or a fold's parts of values, then queries, the report, the new values. */
    private static long answersBytes(MlstmStepCall c, int columns) {
        int groups = (columns + GROUP - 1) / GROUP;
        int depth = columns > 128 ? 3 : 4;
        int parts = c.narrow() ? 1 : 3;
        long slab = depth * parts * SQUARE_BYTES * groups * (GROUP / 16);
        return Float.BYTES * (4L * c.dimQk() + REPORT_FLOATS + 4L * (c.ring() + TOKENS) + (long) TOKENS * columns)
                + Math.max(STAGES_BYTES, slab);
    }

    private static int chunks(int dimHv, int columns) {
        return (dimHv + columns - 1) / columns;
    }

    /** Value columns of a block, whole reads of a thread: as many as still give the device its blocks. */
    private int columns(MlstmStepCall c) {
        long pairs = (long) c.rows() * c.heads();
        int most = c.dimHv() <= WHOLE_COLUMNS ? WHOLE_COLUMNS : MOST_COLUMNS;
        while (most > FEWEST_COLUMNS
                && pairs * chunks(c.dimHv(), most)
                        < (long) BLOCKS * engine.device().multiprocessors()) {
            most /= 2;
        }
        int wide = c.narrow() && c.dimHv() % 8 == 0 ? 8 : 4;
        int reads = c.dimHv() / wide;
        int chunks = chunks(c.dimHv(), most);
        return wide * ((reads + chunks - 1) / chunks);
    }

    /** Compiles on the first use of these sizes, and finds the result in the cache on disk afterwards. */
    private Form form(Sizes sizes) {
        return forms.computeIfAbsent(sizes, s -> {
            KernelModule module = new KernelModule(
                    engine,
                    "mlstm_step_cell",
                    "CELL_QK=" + s.dimQk(),
                    "CELL_HV=" + s.dimHv(),
                    "CELL_COLUMNS=" + s.columns(),
                    KernelModule.define("CELL_SIGMOID", s.sigmoid()),
                    KernelModule.define("CELL_NORMALIZE", s.normalize()),
                    KernelModule.define("CELL_BF16", s.narrow()));
            Kernel[] weights = Arrays.stream(THREADS)
                    .mapToObj(t -> module.kernel("cell_weights_" + t, mostShared))
                    .toArray(Kernel[]::new);
            return new Form(weights, module.kernel("cell_answers", mostShared));
        });
    }

    /** As {@link #run(MlstmStepCall, Gates, long, long)}, with the gates of the call. */
    void run(MlstmStepCall c) {
        run(c, Gates.NONE, engine.partials(), Engine.WORKSPACE);
    }

    /**
     * Two launches, for as many rows at a time as have room for their reports; {@link #takes} must have said yes.
     *
     * @param reports where these are written, 16-byte aligned
     * @param bytes of memory there, at least {@link #reportBytes}
     */
    void run(MlstmStepCall c, Gates gates, long reports, long bytes) {
        int columns = columns(c);
        Form form = form(
                new Sizes(c.dimQk(), c.dimHv(), columns, c.sigmoid(), c.spec().normalize(), c.narrow()));
        int room = (int) Math.min(65_535, bytes / reportBytes(c));
        for (int from = 0; from < c.rows(); from += room) {
            int rows = Math.min(room, c.rows() - from);
            int size = 0;
            while (size < HEADS.length
                    && (long) rows * c.heads()
                            > (long) HEADS[size] * engine.device().multiprocessors()) {
                size++;
            }
            int sharedBytes = (int) weightsBytes(c);
            Engine.Launch weigh = prepare(c, gates, reports, form.weights()[size], from);
            if (gates == Gates.NONE) {
                // The check of the rows stands right before it.
                weigh.run(c.heads(), rows, 1, THREADS[size], sharedBytes);
            } else {
                weigh.early(c.heads(), rows, 1, THREADS[size], sharedBytes);
            }
            long blocks = (long) chunks(c.dimHv(), columns) * c.heads();
            prepare(c, gates, reports, form.answers(), from)
                    .early(blocks, rows, 1, Engine.THREADS, (int) answersBytes(c, columns));
        }
    }

    private Engine.Launch prepare(MlstmStepCall c, Gates gates, long reports, Kernel kernel, int from) {
        return c.put(engine.launch(kernel))
                .put(reports)
                .put(begun)
                .put(gates.shares())
                .put(gates.inputBias())
                .put(gates.forgetBias())
                .put(from)
                .put(c.tokens())
                .put(c.heads())
                .put(c.ring())
                .put(c.schedule().first())
                .put(c.schedule().period())
                .put(c.schedule().stagger())
                .put(c.layer())
                .put(gates.runs())
                .put(c.scale())
                .put(c.spec().eps())
                .faults();
    }
}
