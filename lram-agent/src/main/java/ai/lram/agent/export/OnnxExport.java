package ai.lram.agent.export;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import ai.lram.dataset.io.DurableFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Writes a model's control step as an ONNX file that needs nothing of this runtime: observations, return-to-go and reward in a task's own
 * units and the recurrent state go in; logits, the action and the new state come out. Its logits are {@code LramPolicy}'s (fp32: within
 * 1e-4 of the largest one over hundreds of steps). {@code docs/onnx.md} describes the file. Opset {@value #OPSET}, no custom operators, no
 * external data.
 *
 * <p>Memory: one weight matrix at a time beside the model. Threads: as the model's backend.
 */
public final class OnnxExport {
    /** Version of ONNX's operators. */
    public static final int OPSET = 17;
    /** Protocol Buffers' limit of a message. */
    public static final long MAX_BYTES = Integer.MAX_VALUE;

    private OnnxExport() {}

    /**
     * What was written.
     *
     * @param bytes size of the file
     * @param nodes number of operators
     * @param tasks ids in the order of their indices
     */
    public record Summary(
            Path file, long bytes, int nodes, List<String> tasks, List<OnnxPort> inputs, List<OnnxPort> outputs) {
        public Summary {
            tasks = List.copyOf(tasks);
            inputs = List.copyOf(inputs);
            outputs = List.copyOf(outputs);
        }
    }

    /**
     * Publishes the graph at {@code target}, in place of a file that is there: readers see the old file or the new one.
     *
     * @param model allocated; weights may be untrained
     * @throws ExportException if a task has images, the model has sigmoid input gates, the file would be larger than {@link #MAX_BYTES},
     *     or it cannot be written; {@code target} is as before
     * @throws ai.lram.agent.card.CardException if the card lacks a task that {@code options} names
     */
    public static Summary write(Path target, Lram model, ModelCard card, OnnxOptions options) {
        List<TaskCard> tasks = options.tasks().isEmpty()
                ? card.tasks()
                : options.tasks().stream().map(card::task).toList();
        GraphBuilder graph = StepGraph.of(model, tasks, options);
        ModelCard exported = new ModelCard(card.formatVersion(), card.name(), tasks, card.provenance());
        OnnxFile file = new OnnxFile(graph, Metadata.of(model, exported, options, graph), card.name());
        if (file.bytes() > MAX_BYTES) {
            throw new ExportException(
                    "the ONNX file would have " + file.bytes() + " bytes",
                    "one file without external data holds at most " + MAX_BYTES,
                    "export with int8 weights, or a smaller model");
        }
        publish(file, target.toAbsolutePath());
        List<String> ids = tasks.stream().map(TaskCard::id).toList();
        return new Summary(target, file.bytes(), graph.nodes().size(), ids, graph.inputs(), graph.outputs());
    }

    private static void publish(OnnxFile file, Path target) {
        if (Files.isDirectory(target)) {
            throw new ExportException("cannot write " + target, "a folder of that name is there", "name a file");
        }
        Path temporary = DurableFiles.temporary(target);
        try {
            file.writeTo(temporary);
            DurableFiles.publish(temporary, target);
        } catch (IOException e) {
            remove(temporary, e);
            throw new ExportException(
                    "cannot write " + target,
                    e.toString(),
                    "check that the folder exists, is writable and has room",
                    e);
        } catch (RuntimeException | Error e) {
            remove(temporary, e);
            throw e;
        }
    }

    private static void remove(Path temporary, Throwable cause) {
        try {
            Files.deleteIfExists(temporary);
        } catch (IOException left) {
            cause.addSuppressed(left);
        }
    }
}
