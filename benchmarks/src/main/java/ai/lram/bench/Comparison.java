package ai.lram.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Two sets of results side by side. A change counts only where it is larger than the noise: each side's interval reaches from the lowest to
 * the highest value among its repetitions, and the two must not touch. Several runs in one file are repetitions. A side with a single run
 * does not know how runs differ, so its interval is widened: by {@value #BETWEEN_RUNS} of the value where the run repeated itself, by
 * {@value #SINGLE} where the value was measured once.
 */
public final class Comparison {
    /** Assumed relative noise between two runs. */
    public static final double BETWEEN_RUNS = 0.05;

    /** Assumed relative noise of a value that was measured once. */
    public static final double SINGLE = 0.1;

    /** What became of a case. */
    public enum Verdict {
        BETTER("better"),
        WORSE("worse"),
        WITHIN_NOISE("within noise"),
        ONLY_BEFORE("only in A"),
        ONLY_AFTER("only in B"),
        NOT_COMPARABLE("not comparable");

        private final String words;

        Verdict(String words) {
            this.words = words;
        }

        @Override
        public String toString() {
            return words;
        }
    }

    /**
     * One case in both sets.
     *
     * @param name benchmark and case
     * @param unit of the values
     * @param before median of A's values, NaN if A has none
     * @param after median of B's values, NaN if B has none
     * @param change after / before - 1, NaN where one is missing
     * @param noise half the width of the wider interval, relative to its value; NaN where one side is missing
     */
    public record Row(
            String name, String unit, double before, double after, double change, double noise, Verdict verdict) {}

    private Comparison() {}

    private record Side(double value, double low, double high, String unit, Better better) {
        double noise() {
            return value == 0 ? 0 : (high - low) / 2 / Math.abs(value);
        }

        static Side of(List<Result> repeated) {
            double[] values =
                    repeated.stream().mapToDouble(Result::value).sorted().toArray();
            double low = values[0];
            double high = values[values.length - 1];
            boolean spread = false;
            for (Result r : repeated) {
                if (!Double.isNaN(r.low() + r.high())) {
                    low = Math.min(low, r.low());
                    high = Math.max(high, r.high());
                    spread = true;
                }
            }
            double median = values.length % 2 == 1
                    ? values[values.length / 2]
                    : (values[values.length / 2 - 1] + values[values.length / 2]) / 2;
            double margin = values.length > 1 ? 0 : (spread ? BETWEEN_RUNS : SINGLE) * Math.abs(median);
            Result first = repeated.getFirst();
            for (Result r : repeated) {
                if (!r.unit().equals(first.unit()) || r.better() != first.better()) {
                    throw new BenchException(
                            "the results of " + first.bench() + " " + first.caseName() + " are no repetitions",
                            "one is in " + first.unit() + ", " + first.better() + " is better, another in " + r.unit()
                                    + ", " + r.better() + " is better",
                            "put only runs of one build into a file");
                }
            }
            return new Side(median, low - margin, high + margin, first.unit(), first.better());
        }
    }

    /**
     * Every case of either set, in A's order, then those only B has. Cases without a number are left out.
     *
     * @throws BenchException if a set has a case in several units
     */
    public static List<Row> of(List<Result> before, List<Result> after) {
        Map<String, List<Result>> a = byCase(before);
        Map<String, List<Result>> b = byCase(after);
        List<Row> rows = new ArrayList<>();
        a.forEach((name, results) -> {
            Side left = Side.of(results);
            rows.add(b.containsKey(name) ? row(name, left, Side.of(b.get(name))) : missing(name, left, true));
        });
        b.forEach((name, results) -> {
            if (!a.containsKey(name)) {
                rows.add(missing(name, Side.of(results), false));
            }
        });
        return rows;
    }

    private static Map<String, List<Result>> byCase(List<Result> results) {
        Map<String, List<Result>> map = new LinkedHashMap<>();
        for (Result r : results) {
            if (Double.isFinite(r.value())) {
                map.computeIfAbsent(r.bench() + " " + r.caseName(), k -> new ArrayList<>())
                        .add(r);
            }
        }
        return map;
    }

    private static Row row(String name, Side a, Side b) {
        double change = b.value / a.value - 1;
        double noise = Math.max(a.noise(), b.noise());
        Verdict verdict;
        if (!a.unit.equals(b.unit) || a.better != b.better) {
            verdict = Verdict.NOT_COMPARABLE;
        } else if (a.low <= b.high && b.low <= a.high) {
            verdict = Verdict.WITHIN_NOISE;
        } else {
            verdict = b.value < a.value == (a.better == Better.LOWER) ? Verdict.BETTER : Verdict.WORSE;
        }
        return new Row(name, a.unit, a.value, b.value, change, noise, verdict);
    }

    private static Row missing(String name, Side side, boolean onlyBefore) {
        return new Row(
                name,
                side.unit,
                onlyBefore ? side.value : Double.NaN,
                onlyBefore ? Double.NaN : side.value,
                Double.NaN,
                Double.NaN,
                onlyBefore ? Verdict.ONLY_BEFORE : Verdict.ONLY_AFTER);
    }

    /** How many rows have that verdict. */
    public static long count(List<Row> rows, Verdict... verdicts) {
        return rows.stream()
                .filter(r -> Arrays.asList(verdicts).contains(r.verdict()))
                .count();
    }
}
