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
import java.util.ArrayList;
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
    private static final int MEMORY_PROBES = 16;
    private static final int WARM_UP = 10;
    /** Data sets for memory, in multiples of the one for speed: both of more than one row group, so it must not grow. */
    private static final List<Integer> MORE = List.of(4, 8);

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
                        + (4L + 2 * MORE.getLast()) * MadeData.ROW_BYTES * importEpisodes * LONG_EPISODE);
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
            long before = LiveMemory.anonymousBytes();
            long garbage = LiveMemory.allocatedBytes();
            for (int r = 0; r < REPETITIONS; r++) {
                long begin = System.nanoTime();
                for (int i = 0; i < windows; i++) {
                    read(store, sampler, drawn, window);
                }
                rates[r] = windows / ((System.nanoTime() - begin) / 1e9);
            }
            garbage = LiveMemory.allocatedBytes() - garbage;
            long anonymous = LiveMemory.anonymousBytes() - before;
            Ceilings ceilings = run.shared(Ceilings.class, () -> new Ceilings(quick));
            long bytes = (long) count * LONG_EPISODE * MadeData.ROW_BYTES;
            double ceiling = Math.min(
                    ceilings.read(bytes, 1).best(), ceilings.copy(WINDOW_BYTES).best());
            run.result(
                    best("windows", rates, "windows/s", (long) windows * REPETITIONS)
                            .withFloor(ceiling / WINDOW_BYTES)
                            .withNote(
                                    WINDOW
                                            + " rows of 60 floats drawn at random, copied into a batch, warm, one thread; floor: the copy alone; goal: 500000"));
            run.result(Result.of(
                            NAME,
                            "windows-garbage",
                            garbage / (double) windows / REPETITIONS,
                            "bytes/window",
                            Better.LOWER,
                            (long) windows * REPETITIONS)
                    .withNote("heap the reading thread has allocated; goal: none"));
            reportMemory(
                    run,
                    "windows-memory",
                    anonymous,
                    "memory of the process beyond the page cache that " + (long) windows * REPETITIONS
                            + " windows have cost; goal: it does not grow with them");
        }
    }

    private static void reportMemory(Run run, String name, long bytes, String note) {
        run.result(Result.of(NAME, name, Math.max(0, bytes) / (double) (1 << 20), "MiB", Better.LOWER, 1)
                .withNote(note));
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

    /** Stores take turns, so that none is measured before its code is compiled and a disturbance meets all. */
    private void opening(Run run, Path folder) {
        List<Latencies> latencies = new ArrayList<>();
        for (int count : episodes) {
            run.progress("open " + count + " episodes");
            MadeData.store(openedStore(folder, count), count, SHORT_EPISODE);
            latencies.add(new Latencies(opens, REPETITIONS));
        }
        for (int i = -WARM_UP * opens; i < opens; i++) {
            for (int s = 0; s < episodes.size(); s++) {
                long ns = openNs(openedStore(folder, episodes.get(s)), episodes.get(s));
                if (i >= 0) {
                    latencies.get(s).record(ns);
                }
            }
        }
        for (int s = 0; s < episodes.size(); s++) {
            int count = episodes.get(s);
            run.distribution(
                    new Distribution(NAME, "open-" + count + "-episodes", latencies.get(s)),
                    s == 0 ? Double.NaN : latencies.getFirst().ms(50),
                    Double.NaN,
                    "open and read the first sample, files in the page cache; floor: the smallest store; goal: at most 1.2 times that");
            long before = LiveMemory.heapBytes();
            try (TrajectoryStore store = TrajectoryStore.open(openedStore(folder, count))) {
                reportMemory(
                        run,
                        "open-" + count + "-episodes-memory",
                        LiveMemory.heapBytes() - before,
                        "heap that an open store of " + store.episodeCount()
                                + " episodes holds; goal: the same for any number");
            }
            remove(openedStore(folder, count));
        }
    }

    private static Path openedStore(Path folder, int count) {
        return folder.resolve("open-" + count);
    }

    private static long openNs(Path store, int count) {
        float[] row = new float[MadeData.OBSERVATIONS];
        long begin = System.nanoTime();
        long ns;
        try (TrajectoryStore s = TrajectoryStore.open(store)) {
            s.readWindow(count - 1, 0, 1, Column.OBSERVATION, row, 0);
            ns = System.nanoTime() - begin;
        }
        if (row[0] != MadeData.value(count - 1, 0, 0)) {
            throw new WrongAnswerException(
                    "the first sample of a store is not what was stored",
                    row[0] + " in place of " + MadeData.value(count - 1, 0, 0),
                    "do not trust this build; run lram test");
        }
        return ns;
    }

    // ---- import

    private void importing(Run run, Path folder) throws IOException {
        Path source = folder.resolve("lerobot");
        MadeData.leRobot(source, importEpisodes, LONG_EPISODE);
        for (int times : MORE) {
            run.progress("memory of an import");
            Path large = folder.resolve("lerobot-large");
            MadeData.leRobot(large, times * importEpisodes, LONG_EPISODE);
            importMemory(run, large, times * importEpisodes, folder.resolve("memory"));
            remove(large);
        }
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
                                "Parquet (LeRobot v3) to a store, hashed, checked, synced; floor: writing and syncing as many plain bytes; goal: 300000"));
    }

    private static void importMemory(Run run, Path source, int episodes, Path store) {
        reportMemory(
                run,
                "import-" + episodes + "-episodes-memory",
                liveDuringImport(source, store),
                "most heap that is alive while " + episodes + " episodes of " + LONG_EPISODE
                        + " rows are imported; goal: bounded by a row group and an episode, whatever the data set's size");
    }

    private static long liveDuringImport(Path source, Path store) {
        long before = LiveMemory.heapBytes();
        long[] most = {0, 0};
        ImportJob.importDataset(source, store, ImportOptions.defaults(), (done, total) -> {
            if (done >= most[1]) {
                most[0] = Math.max(most[0], LiveMemory.heapBytes() - before);
                most[1] = done + Math.max(1, total / MEMORY_PROBES);
            }
        });
        remove(store);
        return most[0];
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
