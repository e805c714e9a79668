package ai.lram.bench.suite;

import ai.lram.bench.Benchmark;
import ai.lram.bench.Distribution;
import ai.lram.bench.Host;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.report.Chart;
import ai.lram.bench.report.HtmlReport;
import ai.lram.bench.report.SvgPlot;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What a run found, as a page for people: the short table first, then everything, then how it was measured. */
public final class BenchPage {
    private static final double[] PERCENTILES = {
        0, 10, 25, 50, 75, 90, 95, 97, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.995, 99.999
    };
    private static final int SERIES_PER_PLOT = 8;
    private static final Pattern CONTEXT = Pattern.compile("(.*?)-ctx(\\d+)(.*)");

    private final Run run;
    private final Host host;

    private BenchPage(Run run, Host host) {
        this.run = run;
        this.host = host;
    }

    /**
     * @param command that made the run
     * @param benchmarks that were run
     */
    public static HtmlReport of(Run run, Host host, String command, List<Benchmark> benchmarks) {
        HtmlReport page = new HtmlReport("LRAM Runtime: how fast it is");
        BenchPage p = new BenchPage(run, host);
        p.summary(page);
        for (Benchmark b : benchmarks) {
            p.section(page, b);
        }
        page.heading("How it was measured");
        page.paragraph(
                "Each row is measured in this run, on this machine. A floor is what nothing here can beat: for a time the"
                        + " shortest possible, for a rate the highest possible, itself measured. \"Of floor\" is the value divided by"
                        + " it: 1.0 is perfect. A peer is an alternative measured beside it. The spread is that between repetitions"
                        + " within the run; what lies within it is no difference. A row that beats its floor says that the machine was"
                        + " disturbed while the floor was measured.");
        run.notes().forEach(page::note);
        page.table(
                List.of("", ""),
                List.of(
                        List.of("command", command),
                        List.of("commit", text(host.commit())),
                        List.of("JDK", text(host.jdk())),
                        List.of("processor", text(host.cpu())),
                        List.of("GPU", text(host.gpu()))));
        return page;
    }

    private static String text(String s) {
        return s == null ? "none" : s;
    }

    private void summary(HtmlReport page) {
        List<List<String>> rows = new ArrayList<>();
        for (Distribution d : run.distributions()) {
            Optional<String> words = PlainWords.of(d.bench(), d.caseName());
            if (words.isPresent() && !onlyOneContextOf(d)) {
                double advantage = run.results().stream()
                        .filter(r -> r.bench().equals(d.bench()) && r.caseName().equals(d.caseName()))
                        .mapToDouble(Result::advantage)
                        .findFirst()
                        .orElse(Double.NaN);
                rows.add(List.of(
                        words.get(),
                        ResultTable.number(d.ms(50)) + " ms",
                        d.samples() >= 100 ? ResultTable.number(d.ms(99)) + " ms" : "",
                        d.samples() >= 100 ? ResultTable.number(1e3 / Math.max(1e-6, d.ms(99))) + " a second" : "",
                        Double.isNaN(advantage) ? "" : ResultTable.number(advantage) + "x"));
            }
        }
        if (!rows.isEmpty()) {
            page.heading("In short");
            page.paragraph(
                    "Half of the steps are done within the typical time, 99 of 100 within the second one, which says how many"
                            + " steps a second 99 of 100 keep up with. The last column: how many times faster than the alternative,"
                            + " typical time against typical time; below 1 it is slower. A step's is the same model in ONNX"
                            + " Runtime, a control loop's on a GPU the same loop on the CPU.");
            page.table(
                    List.of("what", "typical", "99 of 100 within", "rate kept by 99 of 100", "against the alternative"),
                    rows);
        }
    }

    /** Whether a distribution belongs to one context of a case that has one for the whole, too. */
    private boolean onlyOneContextOf(Distribution d) {
        Matcher m = CONTEXT.matcher(d.caseName());
        return m.matches()
                && run.distributions().stream()
                        .anyMatch(
                                o -> o.bench().equals(d.bench()) && o.caseName().equals(m.group(1) + m.group(3)));
    }

    private void section(HtmlReport page, Benchmark b) {
        List<Result> results =
                run.headlines().stream().filter(r -> r.bench().equals(b.name())).toList();
        if (results.isEmpty()) {
            return;
        }
        page.heading(b.name() + ": " + b.measures());
        page.table(ResultTable.HEADER, results.stream().map(ResultTable::row).toList());
        contexts(page, b.name());
        percentiles(page, b.name());
        for (Run.Table t : run.tables()) {
            if (t.bench().equals(b.name())) {
                page.paragraph(t.title());
                page.table(t.header(), t.rows());
            }
        }
        results.stream().filter(r -> !r.note().isEmpty()).forEach(r -> page.note(r.caseName() + ": " + r.note()));
    }

    /** Median over context, one line for every case that was measured at several. */
    private void contexts(HtmlReport page, String bench) {
        Map<String, Map<Integer, Double>> lines = new LinkedHashMap<>();
        for (Distribution d : run.distributions()) {
            Matcher m = CONTEXT.matcher(d.caseName());
            if (d.bench().equals(bench) && m.matches() && d.ms(50) > 0) {
                lines.computeIfAbsent(m.group(1) + m.group(3), k -> new TreeMap<>())
                        .put(Integer.parseInt(m.group(2)), d.ms(50));
            }
        }
        List<Chart.Series> series = new ArrayList<>();
        lines.forEach((name, points) -> {
            if (points.size() > 1) {
                series.add(Chart.Series.line(
                        name,
                        points.keySet().stream()
                                .mapToDouble(Integer::doubleValue)
                                .toArray(),
                        points.values().stream()
                                .mapToDouble(Double::doubleValue)
                                .toArray()));
            }
        });
        if (!series.isEmpty()) {
            page.figure(SvgPlot.of(new Chart(
                    "Time of a step over what lies behind it",
                    "context, environment steps",
                    "p50, ms",
                    true,
                    true,
                    series)));
        }
    }

    private void percentiles(HtmlReport page, String bench) {
        List<Chart.Series> series = new ArrayList<>();
        for (Distribution d : run.distributions()) {
            if (d.bench().equals(bench) && !onlyOneContextOf(d)) {
                series.add(curve(d));
            }
        }
        for (int from = 0; from < series.size(); from += SERIES_PER_PLOT) {
            page.figure(SvgPlot.of(new Chart(
                    "Percentiles",
                    "percentile, in nines: 1 = 90 %, 2 = 99 %, 3 = 99.9 %",
                    "ms",
                    true,
                    series.subList(from, Math.min(series.size(), from + SERIES_PER_PLOT)))));
        }
    }

    /** Up to the percentile beyond which less than one sample lies. */
    private static Chart.Series curve(Distribution d) {
        double[] y = d.latencies().ms(PERCENTILES);
        int n = 1;
        while (n < PERCENTILES.length && d.samples() * (1 - PERCENTILES[n] / 100) >= 1) {
            n++;
        }
        double[] x = new double[n];
        double[] ms = new double[n];
        for (int i = 0; i < n; i++) {
            x[i] = -Math.log10(1 - PERCENTILES[i] / 100);
            ms[i] = Math.max(y[i], 1e-6);
        }
        return Chart.Series.line(d.caseName(), x, ms);
    }
}
