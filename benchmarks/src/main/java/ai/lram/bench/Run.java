package ai.lram.bench;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.DoubleUnaryOperator;
import java.util.function.Supplier;

/** One run of one or several benchmarks: what they found so far. Single thread. */
public final class Run {
    private static final double MEDIAN = 50;

    private final Consumer<String> progress;
    private final Map<Class<?>, Object> shared = new HashMap<>();
    private final List<Result> results = new ArrayList<>();
    private final Set<String> details = new HashSet<>();
    private final Set<String> cases = new HashSet<>();
    private final List<Distribution> distributions = new ArrayList<>();
    private final List<Table> tables = new ArrayList<>();
    private final List<String> notes = new ArrayList<>();

    /** @param progress hears what is being measured */
    public Run(Consumer<String> progress) {
        this.progress = progress;
    }

    /**
     * A table beside the results, for what is no single number.
     *
     * @param bench name of the benchmark
     * @param title what it shows
     * @param rows each as long as {@code header}
     */
    public record Table(String bench, String title, List<String> header, List<List<String>> rows) {
        public Table {
            header = List.copyOf(header);
            rows = rows.stream().map(List::copyOf).toList();
            for (List<String> row : rows) {
                if (row.size() != header.size()) {
                    throw new IllegalArgumentException(
                            title + " has a row of " + row.size() + " cells under " + header.size() + " headings");
                }
            }
        }
    }

    /**
     * Runs a benchmark. One that fails leaves nothing in this run: what it reported until then is taken back.
     *
     * @throws RuntimeException as the benchmark
     */
    public void attempt(Benchmark benchmark) {
        int notesBefore = notes.size();
        try {
            benchmark.run(this);
        } catch (RuntimeException | Error e) {
            String name = benchmark.name();
            results.removeIf(r -> r.bench().equals(name));
            cases.removeIf(c -> c.startsWith(name + "/"));
            details.removeIf(c -> c.startsWith(name + "/"));
            distributions.removeIf(d -> d.bench().equals(name));
            tables.removeIf(t -> t.bench().equals(name));
            notes.subList(notesBefore, notes.size()).clear();
            throw e;
        }
    }

    /** Says what is being measured now. */
    public void progress(String what) {
        progress.accept(what);
    }

    /** Adds a number. @throws IllegalArgumentException if the benchmark has reported one of that name */
    public void result(Result r) {
        if (!cases.add(r.bench() + "/" + r.caseName())) {
            throw new IllegalArgumentException("case " + r.bench() + "/" + r.caseName() + " is reported twice");
        }
        results.add(r);
    }

    /** Adds a number that belongs into the result lines but would only lengthen a table. */
    public void detail(Result r) {
        result(r);
        details.add(r.bench() + "/" + r.caseName());
    }

    /**
     * Adds a distribution: its median under the case's own name, and the higher percentiles ({@code -p90}, {@code -p99}, {@code -p999},
     * {@code -p9999}, {@code -max}) as far as there are samples enough to tell them apart.
     *
     * @param floor of the step, NaN if unknown
     * @param peer median of an alternative, NaN if none
     */
    public void distribution(Distribution d, double floor, double peer, String note) {
        distribution(d, floor, percentile -> percentile == MEDIAN ? peer : Double.NaN, note);
    }

    /**
     * The same beside an alternative, percentile by percentile as far as both have samples enough.
     *
     * @param peer the alternative's times, if it was measured
     */
    public void distribution(Distribution d, double floor, Optional<Latencies> peer, String note) {
        distribution(
                d,
                floor,
                percentile -> peer.filter(p -> p.count() >= Distribution.samplesFor(percentile))
                        .map(p -> p.ms(percentile))
                        .orElse(Double.NaN),
                note);
    }

    private void distribution(Distribution d, double floor, DoubleUnaryOperator peer, String note) {
        distributions.add(d);
        result(d.result(MEDIAN, "")
                .withFloor(floor)
                .withPeer(peer.applyAsDouble(MEDIAN))
                .withNote(note));
        for (Distribution.Tail tail : Distribution.TAILS) {
            if (d.samples() >= tail.samples()) {
                detail(d.result(tail.percentile(), tail.suffix())
                        .withFloor(floor)
                        .withPeer(peer.applyAsDouble(tail.percentile())));
            }
        }
    }

    /** Adds a table. */
    public void table(Table t) {
        tables.add(t);
    }

    /** Adds a sentence that readers of the results must know; a second time it is not repeated. */
    public void note(String sentence) {
        if (!notes.contains(sentence)) {
            notes.add(sentence);
        }
    }

    /** What several benchmarks of a run need and one of them has measured: made at the first call. */
    public <T> T shared(Class<T> type, Supplier<T> make) {
        return type.cast(shared.computeIfAbsent(type, t -> make.get()));
    }

    /** Everything reported, in order. */
    public List<Result> results() {
        return List.copyOf(results);
    }

    /** The same without details. */
    public List<Result> headlines() {
        return results.stream()
                .filter(r -> !details.contains(r.bench() + "/" + r.caseName()))
                .toList();
    }

    public List<Distribution> distributions() {
        return List.copyOf(distributions);
    }

    public List<Table> tables() {
        return List.copyOf(tables);
    }

    public List<String> notes() {
        return List.copyOf(notes);
    }
}
