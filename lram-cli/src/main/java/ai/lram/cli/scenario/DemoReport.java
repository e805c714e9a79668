package ai.lram.cli.scenario;

import ai.lram.bench.report.Chart;
import ai.lram.bench.report.HtmlReport;
import ai.lram.bench.report.JsonReport;
import ai.lram.bench.report.SvgPlot;
import ai.lram.bridge.rollout.EpisodeResult;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** What the demo writes: {@code report.json} for programs and {@code report.html} for people. */
public final class DemoReport {
    /** File names in the demo's folder. */
    public static final String JSON = "report.json";

    public static final String HTML = "report.html";
    /** Headings of {@link #rows}. */
    public static final List<String> HEADER = List.of(
            "task", "random", "expert", "agent", "score", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "missed", "steps");

    private static final double[] PERCENTILES = {0, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99};

    private DemoReport() {}

    static void write(Path out, Demo.Request request, Demo.Result result) {
        JsonReport.write(out.resolve(JSON), json(result));
        html(request, result).write(out.resolve(HTML));
    }

    static ObjectNode json(Demo.Result result) {
        ObjectNode root = JsonReport.object();
        ArrayNode tasks = root.putArray("tasks");
        for (Demo.TaskResult t : result.tasks()) {
            ObjectNode n = tasks.addObject();
            ControlLog log = t.log();
            n.put("task", log.task());
            JsonReport.put(n, "random", t.references().random());
            JsonReport.put(n, "expert", t.references().expert());
            JsonReport.put(n, "agent", t.agent());
            JsonReport.put(n, "score", t.score());
            JsonReport.put(n, "p50Ms", log.latencyMs(50));
            JsonReport.put(n, "p99Ms", log.latencyMs(99));
            JsonReport.put(n, "p999Ms", log.latencyMs(99.9));
            JsonReport.put(n, "maxMs", log.maxMs());
            n.put("missed", log.missedTotal());
            n.put("steps", log.steps());
            n.put("episodes", log.episodes().size());
            ArrayNode seeds = n.putArray("seeds");
            log.episodes().stream().mapToLong(EpisodeResult::seed).sorted().forEach(seeds::add);
            ObjectNode causes = n.putObject("missedByCause");
            for (Miss m : Miss.values()) {
                causes.put(m.key(), log.missed().getOrDefault(m, 0L));
            }
        }
        JsonReport.put(root, "meanScore", result.meanScore());
        JsonReport.put(root, "minScore", result.minScore());
        JsonReport.put(root, "trainSeconds", result.trainSeconds());
        JsonReport.put(root, "wallSeconds", result.wallSeconds());
        return root;
    }

    /** A row per task under {@link #HEADER}. */
    public static List<List<String>> rows(Demo.Result result) {
        List<List<String>> rows = new ArrayList<>();
        for (Demo.TaskResult t : result.tasks()) {
            ControlLog log = t.log();
            rows.add(List.of(
                    log.task(),
                    f("%.1f", t.references().random()),
                    f("%.1f", t.references().expert()),
                    f("%.1f", t.agent()),
                    f("%.3f", t.score()),
                    f("%.2f", log.latencyMs(50)),
                    f("%.2f", log.latencyMs(99)),
                    f("%.2f", log.latencyMs(99.9)),
                    f("%.2f", log.maxMs()),
                    String.valueOf(log.missedTotal()),
                    String.valueOf(log.steps())));
        }
        return rows;
    }

    /** The two commands that use the trained model afterwards. */
    public static List<String> commands(Path model) {
        return List.of(
                "./lram serve --model " + model + " --port 7447",
                "./lram drive --env cartpole-swingup --connect 127.0.0.1:7447 --episodes 3");
    }

    private static HtmlReport html(Demo.Request request, Demo.Result result) {
        long steps = result.tasks().stream().mapToLong(t -> t.log().steps()).sum();
        long missed =
                result.tasks().stream().mapToLong(t -> t.log().missedTotal()).sum();
        HtmlReport report = new HtmlReport("LRAM demo");
        report.paragraph(f(
                "One recurrent action model with %,d parameters, trained for %.0f s on %d episodes of mixed quality, then"
                        + " served over gRPC to %d simulated robots at %.0f Hz. Mean score %.3f, lowest %.3f; %d of %,d control periods missed.",
                result.training().parameters(),
                result.trainSeconds(),
                result.episodes(),
                result.tasks().size() * request.settings().sessionsPerTask(),
                request.settings().rateHz(),
                result.meanScore(),
                result.minScore(),
                missed,
                steps));
        report.heading("Results").table(HEADER, rows(result));
        report.note(f(
                "Scores: 0 for random actions, 1 for the scripted expert (means over %d unseen starts each), clipped. Agent: mean over %d"
                        + " starts never trained on. Latency: from the moment an observation was due to the moment its action was there.",
                request.settings().referenceEpisodes(), request.settings().driveEpisodes()));
        report.table(missedHeader(), missedRows(result));
        List<String> names = result.tasks().stream().map(t -> t.log().task()).toList();
        report.figure(SvgPlot.bars("Normalised score", "score", names, List.of("agent"), new double[][] {
            result.tasks().stream().mapToDouble(Demo.TaskResult::score).toArray()
        }));
        report.figure(SvgPlot.of(latencies(result)));
        report.figure(SvgPlot.of(episodes(result)));
        report.heading("Training");
        report.figure(SvgPlot.of(TrainingRun.lossChart(result.training().history())));
        report.paragraph(f(
                "%d updates, %.0f tokens/s at the end. Data %.0f s, training %.0f s, serving and driving %.0f s, all %.0f s.",
                result.training().last().update(),
                result.training().last().tokensPerSecond(),
                result.generateSeconds(),
                result.trainSeconds(),
                result.driveSeconds(),
                result.wallSeconds()));
        report.heading("Again")
                .code(String.join("\n", commands(result.training().model())));
        report.note("Java " + Runtime.version() + ", " + System.getProperty("os.name") + " "
                + System.getProperty("os.arch") + ", " + Runtime.getRuntime().availableProcessors() + " processors");
        return report;
    }

    private static List<String> missedHeader() {
        List<String> header = new ArrayList<>(List.of("missed control periods"));
        Arrays.stream(Miss.values())
                .map(m -> m.name().toLowerCase(Locale.ROOT).replace('_', ' '))
                .forEach(header::add);
        return header;
    }

    private static List<List<String>> missedRows(Demo.Result result) {
        List<List<String>> rows = new ArrayList<>();
        for (Demo.TaskResult t : result.tasks()) {
            List<String> row = new ArrayList<>(List.of(t.log().task()));
            for (Miss m : Miss.values()) {
                row.add(String.valueOf(t.log().missed().getOrDefault(m, 0L)));
            }
            rows.add(row);
        }
        return rows;
    }

    private static Chart latencies(Demo.Result result) {
        List<Chart.Series> series = new ArrayList<>();
        for (Demo.TaskResult t : result.tasks()) {
            double[][] curve = t.log().curve(PERCENTILES);
            double[] x = Arrays.stream(curve)
                    .mapToDouble(p -> -Math.log10(1 - p[0] / 100))
                    .toArray();
            double[] y =
                    Arrays.stream(curve).mapToDouble(p -> Math.max(p[1], 1e-3)).toArray();
            series.add(Chart.Series.line(t.log().task(), x, y));
        }
        return new Chart("Control latency", "percentile, in nines: 1 = 90 %, 2 = 99 %, 3 = 99.9 %", "ms", true, series);
    }

    private static Chart episodes(Demo.Result result) {
        List<Chart.Series> series = new ArrayList<>();
        for (Demo.TaskResult t : result.tasks()) {
            List<EpisodeResult> episodes = t.log().episodes();
            double span = t.references().expert() - t.references().random();
            double[] x = new double[episodes.size()];
            double[] y = new double[episodes.size()];
            for (int i = 0; i < x.length; i++) {
                x[i] = i + 1;
                y[i] = (episodes.get(i).episodeReturn() - t.references().random()) / span;
            }
            series.add(new Chart.Series(t.log().task(), Chart.Style.POINTS, x, y));
        }
        return new Chart(
                "Every episode: share of the way from random to expert, not clipped",
                "episode",
                "share",
                false,
                series);
    }

    private static String f(String format, Object... values) {
        return String.format(Locale.ROOT, format, values);
    }
}
