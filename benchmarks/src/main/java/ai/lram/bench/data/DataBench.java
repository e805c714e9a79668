package ai.lram.bench.data;

import ai.lram.bench.BenchException;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.TemporaryFolder;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.machine.Ceilings;
import ai.lram.dataset.Column;
import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.convert.ImportReport;
import ai.lram.dataset.io.DurableFiles;
import ai.lram.dataset.sample.Window;
import ai.lram.dataset.sample.WindowSampler;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.stream.IntStream;

/** Trajectory data on generated stores, in a folder of its own that is removed afterwards. */
public final class DataBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "data";

    private static final int WINDOW = 50;
    private static final int WINDOW_BYTES = WINDOW * MadeData.ROW_BYTES;
    private static final int REPETITIONS = 5;
    private static final int SHORT_EPISODE = 5;
    private static final int LONG_EPISODE = 500;

    private final Path parent;
    private final List<Integer> episodes;
    private final int windows;
    private final int importEpisodes;
    private final int opens;
    private final boolean quick;

    public DataBench(boolean quick) {
        this(quick, TemporaryFolder.parent());
    }

    /** @param parent where its folder is made */
    DataBench(boolean quick, Path parent) {
        this.parent = parent;
        this.quick = quick;
        episodes = quick ? List.of(100, 1000) : List.of(100, 1000, 10_000, 100_000);
        windows = quick ? 5_000 : 300_000;
        importEpisodes = quick ? 10 : 200;
        opens = quick ? 10 : 200;
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return "trajectory data: training windows a second, opening stores of 100 to 100000 episodes, import from Parquet";
    }

    @Override
    public void require() {
        TemporaryFolder.requireSpace(
                "generated data",
                3L * MadeData.ROW_BYTES * episodes.getLast() * SHORT_EPISODE
                        + 4L * MadeData.ROW_BYTES * importEpisodes * LONG_EPISODE);
    }

    @Override
    public void run(Run run) {
        require();
        try (TemporaryFolder temporary = TemporaryFolder.createIn(parent, "the data benchmark")) {
            Path folder = temporary.path();
            windows(run, folder.resolve("windows"));
            opening(run, folder);
            importing(run, folder);
        } catch (IOException e) {
            throw new BenchException(
                    "the data benchmark could not write its files",
                    e.toString(),
                    "set -Djava.io.tmpdir to a folder you may write to",
                    e);
        }
    }

    private static void remove(Path folder) {
        try {
            DurableFiles.deleteTree(folder);
        } catch (IOException e) {
            throw new BenchException("cannot remove " + folder, e.toString(), "remove it by hand", e);
        }
    }

    // ---- windows

    private void windows(Run run, Path folder) {
        int count = quick ? 20 : 200;
        run.progress("windows");
        MadeData.store(folder, count, LONG_EPISODE);
        try (TrajectoryStore store = TrajectoryStore.open(folder);
                Arena arena = Arena.ofConfined()) {
            MemorySegment window = arena.allocate(WINDOW_BYTES, 64);
            WindowSampler sampler = WindowSampler.builder(
                            store, IntStream.range(0, count).toArray())
                    .windowLength(WINDOW)
                    .mode(WindowSampler.Mode.FULL_LENGTH)
                    .seed(1)
                    .build();
            Window drawn = new Window();
            for (int i = 0; i < windows; i++) {
                read(store, sampler, drawn, window);
                if (i < 1000) {
                    check(drawn, window);
                }
            }
            double[] rates = new double[REPETITIONS];
            for (int r = 0; r < REPETITIONS; r++) {
                long begin = System.nanoTime();
                for (int i = 0; i < windows; i++) {
                    read(store, sampler, drawn, window);
                }
                rates[r] = windows / ((System.nanoTime() - begin) / 1e9);
            }
            Ceilings ceilings = run.shared(Ceilings.class, () -> new Ceilings(quick));
            long bytes = (long) count * LONG_EPISODE * MadeData.ROW_BYTES;
            double ceiling = Math.min(
                    ceilings.read(bytes, 1).best(), ceilings.copy(WINDOW_BYTES).best());
            run.result(
                    best("windows", rates, "windows/s", (long) windows * REPETITIONS)
                            .withFloor(ceiling / WINDOW_BYTES)
                            .withNote(
                                    WINDOW
                                            + " rows of 60 floats drawn at random, copied into a batch, warm, one thread; floor: the copy alone"));
        }
    }

    private static void read(TrajectoryStore store, WindowSampler sampler, Window drawn, MemorySegment into) {
        sampler.next(drawn);
        store.readWindow(drawn.episode(), drawn.start(), drawn.length(), Column.OBSERVATION, into, 0);
        store.readWindow(
                drawn.episode(),
                drawn.start(),
                drawn.length(),
                Column.ACTION,
                into,
                (long) WINDOW * MadeData.OBSERVATIONS * Float.BYTES);
    }

    private static void check(Window drawn, MemorySegment window) {
        int last = WINDOW - 1;
        requireValue(window, 0, MadeData.value(drawn.episode(), drawn.start(), 0), drawn);
        requireValue(
                window,
                (long) last * MadeData.OBSERVATIONS,
                MadeData.value(drawn.episode(), drawn.start() + last, 0),
                drawn);
        requireValue(
                window,
                (long) WINDOW * MadeData.OBSERVATIONS + (long) last * MadeData.ACTIONS,
                MadeData.value(drawn.episode(), drawn.start() + last, MadeData.OBSERVATIONS),
                drawn);
    }

    private static void requireValue(MemorySegment window, long at, float expected, Window drawn) {
        float got = window.getAtIndex(ValueLayout.JAVA_FLOAT, at);
        if (got != expected) {
            throw new WrongAnswerException(
                    "a window is not what was stored",
                    drawn + " holds " + got + " in place of " + expected,
                    "do not trust this build; run lram test");
        }
    }

    /** The best of several rates, with their range. */
    private static Result best(String name, double[] rates, String unit, long samples) {
        double best = 0;
        double worst = Double.POSITIVE_INFINITY;
        for (double r : rates) {
            best = Math.max(best, r);
            worst = Math.min(worst, r);
        }
        return Result.of(NAME, name, best, unit, Better.HIGHER, samples).withSpread(worst, best);
    }

    // ---- opening

    private void opening(Run run, Path folder) {
        double smallest = Double.NaN;
        for (int count : episodes) {
            run.progress("open " + count + " episodes");
            Path store = folder.resolve("open-" + count);
            MadeData.store(store, count, SHORT_EPISODE);
            Latencies latencies = new Latencies(opens, REPETITIONS);
            float[] row = new float[MadeData.OBSERVATIONS];
            for (int i = -opens; i < opens; i++) {
                long begin = System.nanoTime();
                try (TrajectoryStore s = TrajectoryStore.open(store)) {
                    s.readWindow(count - 1, 0, 1, Column.OBSERVATION, row, 0);
                    if (i >= 0) {
                        latencies.record(System.nanoTime() - begin);
                    }
                }
                if (row[0] != MadeData.value(count - 1, 0, 0)) {
                    throw new WrongAnswerException(
                            "the first sample of a store is not what was stored",
                            row[0] + " in place of " + MadeData.value(count - 1, 0, 0),
                            "do not trust this build; run lram test");
                }
            }
            run.distribution(
                    new Distribution(NAME, "open-" + count + "-episodes", latencies),
                    smallest,
                    Double.NaN,
                    "open and read the first sample, files in the page cache; floor: the smallest store");
            smallest = Double.isNaN(smallest) ? latencies.ms(50) : smallest;
            remove(store);
        }
    }

    // ---- import

    private void importing(Run run, Path folder) throws IOException {
        Path source = folder.resolve("lerobot");
        MadeData.leRobot(source, importEpisodes, LONG_EPISODE);
        long rows = (long) importEpisodes * LONG_EPISODE;
        double[] rates = new double[REPETITIONS];
        for (int r = 0; r < REPETITIONS; r++) {
            run.progress("import " + (r + 1) + " of " + REPETITIONS);
            Path store = folder.resolve("import-" + r);
            long begin = System.nanoTime();
            ImportReport report =
                    ImportJob.importDataset(source, store, ImportOptions.defaults(), ProgressListener.NONE);
            rates[r] = rows / ((System.nanoTime() - begin) / 1e9);
            if (report.rows() != rows) {
                throw new WrongAnswerException(
                        "an import lost rows",
                        report.rows() + " of " + rows + " arrived",
                        "do not trust this build; run lram test");
            }
            remove(store);
        }
        run.result(
                best("import", rates, "rows/s", rows * REPETITIONS)
                        .withFloor(rows / writeSeconds(folder.resolve("plain"), rows * MadeData.ROW_BYTES))
                        .withNote(
                                "Parquet (LeRobot v3) to a store, hashed, checked, synced; floor: writing and syncing as many plain bytes"));
    }

    private static double writeSeconds(Path file, long bytes) throws IOException {
        ByteBuffer block = ByteBuffer.allocateDirect(1 << 20);
        double fastest = Double.POSITIVE_INFINITY;
        for (int r = 0; r < REPETITIONS; r++) {
            long begin = System.nanoTime();
            try (FileChannel channel = FileChannel.open(
                    file, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
                for (long left = bytes; left > 0; ) {
                    block.clear().limit((int) Math.min(block.capacity(), left));
                    left -= channel.write(block);
                }
                channel.force(true);
            }
            fastest = Math.min(fastest, (System.nanoTime() - begin) / 1e9);
        }
        Files.delete(file);
        return fastest;
    }
}
