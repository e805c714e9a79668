package ai.lram.agent.checkpoint;

import ai.lram.dataset.io.DurableFiles;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/** Collects tensors and writes them as one safetensors file. Data is asked for one tensor at a time. Single thread. */
public final class SafetensorsWriter {
    private static final int ALIGN = 64;
    private static final long SLICE = 1L << 28;

    private record Source(ElementType type, int[] shape, Supplier<HostTensor> data) {}

    private final Map<String, Source> sources = new LinkedHashMap<>();
    private final Map<String, String> metadata = new LinkedHashMap<>();

    public SafetensorsWriter metadata(String key, String value) {
        metadata.put(key, value);
        return this;
    }

    public SafetensorsWriter add(String name, HostTensor tensor) {
        return add(name, tensor.type(), tensor.shape(), () -> tensor);
    }

    /** Adds a tensor whose data is made only when it is written. */
    public SafetensorsWriter add(String name, ElementType type, int[] shape, Supplier<HostTensor> data) {
        if (name.equals(Safetensors.METADATA)
                || sources.putIfAbsent(name, new Source(type, shape.clone(), data)) != null) {
            throw new IllegalArgumentException("tensor name " + name + " is taken; use unique names");
        }
        return this;
    }

    /**
     * Writes beside {@code target}, syncs and renames: readers see the old file or the new one.
     *
     * @throws CheckpointWriteException if that fails; {@code target} is as before
     */
    public void write(Path target) {
        Path temporary = DurableFiles.temporary(target.toAbsolutePath());
        try {
            writeTo(temporary);
            DurableFiles.publish(temporary, target.toAbsolutePath());
        } catch (IOException e) {
            try {
                Files.deleteIfExists(temporary);
            } catch (IOException left) {
                e.addSuppressed(left);
            }
            throw new CheckpointWriteException(
                    "cannot write " + target,
                    e.toString(),
                    "check that the folder exists, is writable and has room",
                    e);
        }
    }

    /** Writes and syncs {@code file}. */
    void writeTo(Path file) throws IOException {
        byte[] header = header();
        try (FileChannel out = FileChannel.open(
                file, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE)) {
            ByteBuffer length =
                    ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, header.length);
            writeAll(out, length);
            writeAll(out, ByteBuffer.wrap(header));
            for (Map.Entry<String, Source> e : sources.entrySet()) {
                HostTensor t = e.getValue().data().get();
                if (t.type() != e.getValue().type()
                        || !Arrays.equals(t.shape(), e.getValue().shape())) {
                    throw new IllegalStateException("tensor " + e.getKey() + " was announced as "
                            + e.getValue().type() + Arrays.toString(e.getValue().shape()) + " and came as " + t);
                }
                writeAll(out, t.data());
            }
            out.force(true);
        }
    }

    private byte[] header() {
        ObjectNode root = Json.MAPPER.createObjectNode();
        if (!metadata.isEmpty()) {
            ObjectNode m = root.putObject(Safetensors.METADATA);
            metadata.forEach(m::put);
        }
        // Widest elements first keeps every tensor aligned to its own element size.
        List<Map.Entry<String, Source>> order = new ArrayList<>(sources.entrySet());
        order.sort((a, b) ->
                Integer.compare(b.getValue().type().bytes(), a.getValue().type().bytes()));
        sources.clear();
        long at = 0;
        for (Map.Entry<String, Source> e : order) {
            Source s = e.getValue();
            sources.put(e.getKey(), s);
            long bytes = HostTensor.elements(s.shape()) * s.type().bytes();
            ObjectNode n = root.putObject(e.getKey());
            n.put("dtype", s.type().name());
            ArrayNode shape = n.putArray("shape");
            for (int d : s.shape()) {
                shape.add(d);
            }
            n.putArray("data_offsets").add(at).add(at + bytes);
            at += bytes;
        }
        byte[] json = Json.bytes(root, false);
        int padded = (json.length + 8 + ALIGN - 1) / ALIGN * ALIGN - 8;
        byte[] header = Arrays.copyOf(json, padded);
        Arrays.fill(header, json.length, padded, (byte) ' ');
        return header;
    }

    private static void writeAll(FileChannel out, MemorySegment data) throws IOException {
        for (long at = 0; at < data.byteSize(); at += SLICE) {
            writeAll(
                    out, data.asSlice(at, Math.min(SLICE, data.byteSize() - at)).asByteBuffer());
        }
    }

    private static void writeAll(FileChannel out, ByteBuffer buffer) throws IOException {
        while (buffer.hasRemaining()) {
            out.write(buffer);
        }
    }
}
