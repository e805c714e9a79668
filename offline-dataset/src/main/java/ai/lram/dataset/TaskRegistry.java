package ai.lram.dataset;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;

/** The 432 training and 37 held-out tasks of six domains, with their normalisation references. Immutable. */
public final class TaskRegistry {
    private final Map<String, RegisteredTask> tasks;

    private TaskRegistry(Map<String, RegisteredTask> tasks) {
        this.tasks = Collections.unmodifiableMap(tasks);
    }

    /** The published registry, read once from this module's resources. */
    public static TaskRegistry published() {
        return Published.REGISTRY;
    }

    /** All tasks in published order. */
    public Collection<RegisteredTask> tasks() {
        return tasks.values();
    }

    /** Training tasks ({@code heldOut} false) or held-out ones (true), in published order. */
    public List<RegisteredTask> split(boolean heldOut) {
        return tasks.values().stream().filter(task -> task.heldOut() == heldOut).toList();
    }

    /** Tasks of one domain, in published order; empty for an unknown domain. */
    public List<RegisteredTask> domain(String domain) {
        return tasks.values().stream()
                .filter(task -> task.domain().equals(domain))
                .toList();
    }

    /** Domain names in published order. */
    public List<String> domains() {
        return tasks.values().stream().map(RegisteredTask::domain).distinct().toList();
    }

    /** The task {@code domain/task}. */
    public Optional<RegisteredTask> find(String id) {
        return Optional.ofNullable(tasks.get(id));
    }

    private static final class Published {
        private static final TaskRegistry REGISTRY = read();

        private static TaskRegistry read() {
            Map<String, String[]> scores = new LinkedHashMap<>();
            for (String[] row : rows("lram-scores.csv", 11)) {
                scores.put(row[0] + "/" + row[1], row);
            }
            Map<String, RegisteredTask> tasks = new LinkedHashMap<>();
            for (String[] row : rows("lram-tasks.csv", 7)) {
                String id = row[0] + "/" + row[1];
                String[] score = scores.get(id);
                if (score == null) {
                    throw new MalformedDatasetException(
                            "task registry: no scores for " + id,
                            "lram-scores.csv and lram-tasks.csv list different tasks",
                            "reinstall offline-dataset; its resources are damaged");
                }
                boolean image = row[3].equals("image");
                tasks.put(
                        id,
                        new RegisteredTask(
                                row[0],
                                row[1],
                                row[2].equals("heldout"),
                                image,
                                image || row[4].isEmpty()
                                        ? OptionalInt.empty()
                                        : OptionalInt.of(Integer.parseInt(row[4])),
                                row[5].equals("discrete"),
                                row[6].isEmpty() ? OptionalInt.empty() : OptionalInt.of(Integer.parseInt(row[6])),
                                number(score[3]),
                                number(score[4]),
                                number(score[5]),
                                number(score[6]),
                                number(score[7]),
                                Double.parseDouble(score[8])));
            }
            return new TaskRegistry(tasks);
        }

        private static List<String[]> rows(String resource, int columns) {
            try (InputStream in = TaskRegistry.class.getResourceAsStream(resource)) {
                if (in == null) {
                    throw new DatasetReadException(
                            "task registry: resource " + resource + " is missing",
                            "the offline-dataset jar is incomplete",
                            "rebuild or reinstall it");
                }
                List<String[]> rows = new String(in.readAllBytes(), StandardCharsets.UTF_8)
                        .lines()
                        .skip(1)
                        .map(line -> line.split(",", -1))
                        .toList();
                for (String[] row : rows) {
                    if (row.length != columns) {
                        throw new MalformedDatasetException(
                                "task registry: " + resource + " has a row of " + row.length + " fields",
                                columns + " are expected",
                                "reinstall offline-dataset; its resources are damaged");
                    }
                }
                return rows;
            } catch (IOException e) {
                throw new DatasetReadException(
                        "task registry: cannot read " + resource, e.getMessage(), "reinstall offline-dataset", e);
            }
        }

        private static OptionalDouble number(String text) {
            return text.isEmpty() ? OptionalDouble.empty() : OptionalDouble.of(Double.parseDouble(text));
        }
    }
}
