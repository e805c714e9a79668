package ai.lram.cli.scenario;

import ai.lram.agent.train.TrainingMetrics;
import ai.lram.bench.report.JsonReport;
import ai.lram.cli.config.InputException;
import ai.lram.dataset.io.DurableFiles;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/** The metrics file of a run: one JSON object per line and update, in memory too. Single thread. */
final class Metrics implements AutoCloseable {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private final Path file;
    private final BufferedWriter writer;
    private final List<TrainingMetrics> history;

    private Metrics(Path file, BufferedWriter writer, List<TrainingMetrics> history) {
        this.file = file;
        this.writer = writer;
        this.history = history;
    }

    /** Opens the file of a run that stands after update {@code from}; later lines, of updates that were lost, are dropped. */
    static Metrics open(Path file, long from) {
        List<TrainingMetrics> history = new ArrayList<>();
        StringBuilder kept = new StringBuilder();
        try {
            if (from > 0 && Files.exists(file)) {
                for (String line : Files.readAllLines(file)) {
                    TrainingMetrics m = parse(line);
                    if (m != null && m.update() <= from) {
                        history.add(m);
                        kept.append(line).append('\n');
                    }
                }
            }
            DurableFiles.replace(file.toAbsolutePath(), kept.toString().getBytes(StandardCharsets.UTF_8));
            return new Metrics(file, Files.newBufferedWriter(file, StandardOpenOption.APPEND), history);
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    /** Null for a line that a killed process left unfinished. */
    private static TrainingMetrics parse(String line) {
        try {
            JsonNode n = MAPPER.readTree(line);
            if (n == null || !n.isObject()) {
                return null;
            }
            return new TrainingMetrics(
                    n.path("update").asLong(),
                    n.path("loss").asDouble(Double.NaN),
                    n.path("accuracy").asDouble(Double.NaN),
                    n.path("learningRate").asDouble(Double.NaN),
                    n.path("gradientNorm").asDouble(Double.NaN),
                    n.path("tokensPerSecond").asDouble(Double.NaN),
                    n.path("elapsedSeconds").asDouble(Double.NaN),
                    n.path("progress").asDouble(Double.NaN),
                    n.path("validationLoss").asDouble(Double.NaN));
        } catch (JsonProcessingException e) {
            return null;
        }
    }

    void append(TrainingMetrics m) {
        ObjectNode n = JsonReport.object();
        n.put("update", m.update());
        JsonReport.put(n, "loss", m.loss());
        JsonReport.put(n, "accuracy", m.accuracy());
        JsonReport.put(n, "learningRate", m.learningRate());
        JsonReport.put(n, "gradientNorm", m.gradientNorm());
        JsonReport.put(n, "tokensPerSecond", m.tokensPerSecond());
        JsonReport.put(n, "elapsedSeconds", m.elapsedSeconds());
        JsonReport.put(n, "progress", m.progress());
        JsonReport.put(n, "validationLoss", m.validationLoss());
        try {
            writer.write(JsonReport.line(n));
            writer.write('\n');
            writer.flush();
        } catch (IOException e) {
            throw unwritable(file, e);
        }
        history.add(m);
    }

    List<TrainingMetrics> history() {
        return history;
    }

    @Override
    public void close() {
        try {
            writer.close();
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    private static InputException unwritable(Path file, IOException e) {
        return new InputException(
                "cannot write " + file, e.toString(), "choose a writable --out on a disk with room", e);
    }
}
