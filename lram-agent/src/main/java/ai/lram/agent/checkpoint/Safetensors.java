package ai.lram.agent.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A safetensors file, memory-mapped: 8 bytes of header length, a JSON header that gives every tensor's type, shape and place, then the
 * tensors without gaps. The header is not trusted: nothing is handed out unless all of it is consistent with the file.
 *
 * <p>Threads: safe to share. Tensors are views of the mapping and end with {@link #close()}.
 */
public final class Safetensors implements AutoCloseable {
    /** Longest header accepted, in bytes. */
    public static final long MAX_HEADER_BYTES = 100_000_000;
    /** Key of the free text entries. */
    static final String METADATA = "__metadata__";
    /** Longest shape accepted. */
    private static final int MAX_RANK = 16;

    private final Path path;
    private final Arena arena;
    private final Map<String, HostTensor> tensors;
    private final Map<String, String> metadata;

    private Safetensors(Path path, Arena arena, Map<String, HostTensor> tensors, Map<String, String> metadata) {
        this.path = path;
        this.arena = arena;
        this.tensors = tensors;
        this.metadata = metadata;
    }

    /**
     * Maps a file and checks its header.
     *
     * @throws CheckpointReadException if the file cannot be opened
     * @throws CorruptCheckpointException if header and file do not agree
     */
    public static Safetensors open(Path path) {
        Arena arena = Arena.ofShared();
        boolean kept = false;
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            if (!Files.isRegularFile(path)) {
                throw new CheckpointReadException(
                        "cannot read " + path, "it is not a regular file", "name a .safetensors file");
            }
            long size = channel.size();
            if (size < 8) {
                throw corrupt(path, "the file has " + size + " bytes, less than the length of a header");
            }
            MemorySegment file = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
            Safetensors s = parse(path, arena, file);
            kept = true;
            return s;
        } catch (IOException e) {
            throw new CheckpointReadException(
                    "cannot read " + path, e.toString(), "name a readable .safetensors file", e);
        } finally {
            if (!kept) {
                arena.close();
            }
        }
    }

    private record Place(String name, ElementType type, int[] shape, long begin, long end) {}

    private static Safetensors parse(Path path, Arena arena, MemorySegment file) {
        long headerBytes = file.get(HostTensor.LONG, 0);
        long rest = file.byteSize() - 8;
        if (headerBytes < 2 || headerBytes > MAX_HEADER_BYTES || headerBytes > rest) {
            throw corrupt(
                    path,
                    "the header claims " + Long.toUnsignedString(headerBytes) + " bytes; the file has " + rest
                            + " left and the limit is " + MAX_HEADER_BYTES);
        }
        byte[] json = new byte[(int) headerBytes];
        MemorySegment.copy(file, ValueLayout.JAVA_BYTE, 8, json, 0, json.length);
        ObjectNode header = Json.object(json, path.toString());
        MemorySegment data = file.asSlice(8 + headerBytes);
        Map<String, String> metadata = new LinkedHashMap<>();
        List<Place> places = new ArrayList<>();
        for (Map.Entry<String, JsonNode> e : header.properties()) {
            if (e.getKey().equals(METADATA)) {
                readMetadata(path, e.getValue(), metadata);
            } else {
                places.add(readPlace(path, e.getKey(), e.getValue(), data.byteSize()));
            }
        }
        requireNoGaps(path, places, data.byteSize());
        Map<String, HostTensor> tensors = new LinkedHashMap<>();
        for (Place p : places) {
            tensors.put(p.name(), new HostTensor(p.type(), p.shape(), data.asSlice(p.begin(), p.end() - p.begin())));
        }
        return new Safetensors(
                path, arena, Collections.unmodifiableMap(tensors), Collections.unmodifiableMap(metadata));
    }

    private static void readMetadata(Path path, JsonNode node, Map<String, String> into) {
        if (!node.isObject()) {
            throw corrupt(path, METADATA + " is not an object");
        }
        for (Map.Entry<String, JsonNode> e : node.properties()) {
            if (!e.getValue().isTextual()) {
                throw corrupt(path, METADATA + " entry " + e.getKey() + " is not text");
            }
            into.put(e.getKey(), e.getValue().textValue());
        }
    }

    private static Place readPlace(Path path, String name, JsonNode node, long dataBytes) {
        JsonNode dtype = node.get("dtype");
        JsonNode shape = node.get("shape");
        JsonNode offsets = node.get("data_offsets");
        if (!node.isObject() || node.size() != 3 || dtype == null || shape == null || offsets == null) {
            throw corrupt(path, "entry " + name + " does not consist of dtype, shape and data_offsets");
        }
        ElementType type = null;
        for (ElementType t : ElementType.values()) {
            if (dtype.isTextual() && t.name().equals(dtype.textValue())) {
                type = t;
            }
        }
        if (type == null) {
            throw new IncompatibleCheckpointException(
                    path + ": tensor " + name + " has an unknown type",
                    "dtype is " + dtype,
                    "convert it to one of " + Arrays.toString(ElementType.values()));
        }
        if (!shape.isArray() || shape.size() > MAX_RANK) {
            throw corrupt(path, "the shape of " + name + " is not a list of at most " + MAX_RANK + " sizes");
        }
        int[] sizes = new int[shape.size()];
        long elements = 1;
        boolean empty = false;
        for (int i = 0; i < sizes.length; i++) {
            JsonNode d = shape.get(i);
            if (!d.isIntegralNumber() || !d.canConvertToInt() || d.intValue() < 0) {
                throw corrupt(
                        path,
                        "the shape of " + name + " is " + shape + "; sizes are integers in 0.." + Integer.MAX_VALUE);
            }
            sizes[i] = d.intValue();
            empty |= sizes[i] == 0;
            elements = empty ? 0 : elements * sizes[i];
            if (elements > dataBytes) {
                throw corrupt(path, "tensor " + name + " of shape " + shape + " is larger than the file");
            }
        }
        if (!offsets.isArray() || offsets.size() != 2 || !isOffset(offsets.get(0)) || !isOffset(offsets.get(1))) {
            throw corrupt(path, "data_offsets of " + name + " are " + offsets + ", not two positions");
        }
        long begin = offsets.get(0).longValue();
        long end = offsets.get(1).longValue();
        if (begin > end || end > dataBytes) {
            throw corrupt(
                    path,
                    "tensor " + name + " lies at " + begin + ".." + end + ", the file has " + dataBytes
                            + " bytes of data");
        }
        if (end - begin != elements * type.bytes()) {
            throw corrupt(
                    path,
                    "tensor " + name + " " + type + shape + " needs " + elements * type.bytes() + " bytes but has "
                            + (end - begin));
        }
        return new Place(name, type, sizes, begin, end);
    }

    private static boolean isOffset(JsonNode n) {
        return n.isIntegralNumber() && n.canConvertToLong() && n.longValue() >= 0;
    }

    private static void requireNoGaps(Path path, List<Place> places, long dataBytes) {
        List<Place> inOrder = new ArrayList<>(places);
        inOrder.sort(Comparator.comparingLong(Place::begin).thenComparingLong(Place::end));
        long at = 0;
        for (Place p : inOrder) {
            if (p.begin() != at) {
                throw corrupt(
                        path,
                        "tensor " + p.name() + " starts at " + p.begin() + " where " + at + " was expected: tensors "
                                + (p.begin() < at ? "overlap" : "leave a gap"));
            }
            at = p.end();
        }
        if (at != dataBytes) {
            throw corrupt(path, "the tensors end at byte " + at + " of " + dataBytes + " bytes of data");
        }
    }

    static CorruptCheckpointException corrupt(Path path, String why) {
        return new CorruptCheckpointException(
                path + " is not a sound safetensors file", why, "copy or export it again");
    }

    public Path path() {
        return path;
    }

    /** Free text entries of the header. */
    public Map<String, String> metadata() {
        return metadata;
    }

    /** Tensor names in the order of the header. */
    public Set<String> names() {
        return tensors.keySet();
    }

    public boolean contains(String name) {
        return tensors.containsKey(name);
    }

    /** A view of the file. @throws IncompatibleCheckpointException if there is no such tensor */
    public HostTensor tensor(String name) {
        HostTensor t = tensors.get(name);
        if (t == null) {
            throw new IncompatibleCheckpointException(
                    path + " has no tensor " + name,
                    "it holds " + tensors.size() + " others",
                    "use a file written for this model");
        }
        return t;
    }

    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
