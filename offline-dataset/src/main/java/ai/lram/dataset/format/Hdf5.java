package ai.lram.dataset.format;

import ai.lram.dataset.DatasetException;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.UnsupportedFormatException;
import io.jhdf.HdfFile;
import io.jhdf.api.Attribute;
import io.jhdf.api.Dataset;
import io.jhdf.api.Group;
import io.jhdf.api.Node;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * An HDF5 file read through jHDF, with sizes checked before memory is taken and every library error made typed.
 *
 * <p>Files up to 2 GiB are mapped and handed over as memory: reading through a channel, jHDF allocates whatever size a
 * damaged header claims.
 */
final class Hdf5 implements AutoCloseable {
    /** Largest plausible ratio of values to stored bytes; beyond it the sizes are taken for a lie. */
    private static final long MAX_EXPANSION = 2048;

    private final Path file;
    private final HdfFile hdf;
    private final Arena arena;

    private Hdf5(Path file, HdfFile hdf, Arena arena) {
        this.file = file;
        this.hdf = hdf;
        this.arena = arena;
    }

    static Hdf5 open(Path file) {
        if (!Files.isRegularFile(file)) {
            throw new DatasetReadException("HDF5 file " + file + " is missing", "no such file", "check the path");
        }
        Arena arena = Arena.ofShared();
        boolean opened = false;
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            HdfFile hdf;
            if (channel.size() > Integer.MAX_VALUE || channel.size() == 0) {
                hdf = guarded(file, () -> new HdfFile(file));
            } else {
                ByteBuffer content = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena)
                        .asByteBuffer();
                hdf = guarded(file, () -> HdfFile.fromByteBuffer(content));
            }
            opened = true;
            return new Hdf5(file, hdf, arena);
        } catch (IOException e) {
            throw new DatasetReadException(
                    "HDF5 file " + file + " cannot be read",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "check permissions and the device",
                    e);
        } finally {
            if (!opened) {
                arena.close();
            }
        }
    }

    Group root() {
        return hdf;
    }

    Optional<Dataset> dataset(Group group, String name) {
        return guarded(
                file, () -> group.getChild(name) instanceof Dataset found ? Optional.of(found) : Optional.empty());
    }

    Dataset require(Group group, String name) {
        return dataset(group, name)
                .orElseThrow(() -> new MalformedDatasetException(
                        "HDF5 file " + file + " has no data set " + path(group) + name,
                        "it holds " + group.getChildren().keySet(),
                        "check that the file has the expected layout"));
    }

    Optional<Node> child(Group group, String name) {
        return guarded(file, () -> Optional.ofNullable(group.getChild(name)));
    }

    int[] dimensions(Dataset dataset) {
        return guarded(file, dataset::getDimensions);
    }

    /** An integer attribute, or {@code otherwise}. */
    long attribute(Node node, String name, long otherwise) {
        return guarded(file, () -> {
            Attribute attribute = node.getAttribute(name);
            return attribute != null && attribute.getData() instanceof Number number ? number.longValue() : otherwise;
        });
    }

    /** All values of a numeric or boolean data set, row-major. Booleans written by h5py arrive as text. */
    float[] floats(Dataset dataset) {
        Object data = flat(dataset);
        return switch (data) {
            case float[] values -> values.clone();
            case double[] values -> convert(values.length, i -> (float) values[i]);
            case byte[] values -> convert(values.length, i -> values[i]);
            case short[] values -> convert(values.length, i -> values[i]);
            case int[] values -> convert(values.length, i -> exact(dataset, values[i]));
            case long[] values -> convert(values.length, i -> exact(dataset, values[i]));
            case boolean[] values -> convert(values.length, i -> values[i] ? 1 : 0);
            case String[] values -> convert(values.length, i -> truth(dataset, values[i]));
            default ->
                throw new UnsupportedFormatException(
                        "HDF5 file " + file + ": data set " + dataset.getPath() + " cannot be used as numbers",
                        "it holds " + data.getClass().getSimpleName(),
                        "numbers and booleans are read");
        };
    }

    /** All values of a data set of unsigned bytes. */
    byte[] bytes(Dataset dataset) {
        Object data = flat(dataset);
        return switch (data) {
            case byte[] values -> values.clone();
            case short[] values -> pixels(dataset, values.length, i -> values[i]);
            case int[] values -> pixels(dataset, values.length, i -> values[i]);
            default ->
                throw new UnsupportedFormatException(
                        "HDF5 file " + file + ": data set " + dataset.getPath() + " cannot be used as image",
                        "it holds " + data.getClass().getSimpleName(),
                        "unsigned bytes are read");
        };
    }

    private Object flat(Dataset dataset) {
        return guarded(file, () -> {
            long elements = 1;
            for (long size : dataset.getDimensionsAsLong()) {
                if (size < 0 || size != 0 && elements > Integer.MAX_VALUE / size) {
                    elements = Long.MAX_VALUE;
                    break;
                }
                elements *= size;
            }
            long stored = Math.max(1, dataset.getStorageInBytes());
            if (elements > Integer.MAX_VALUE - 8 || elements / MAX_EXPANSION > stored) {
                throw malformed(
                        dataset.getPath() + " claims " + (elements == Long.MAX_VALUE ? "over 2^31" : elements)
                                + " values",
                        stored + " bytes are stored");
            }
            if (elements == 0) {
                return new float[0];
            }
            return dataset.getDataFlat();
        });
    }

    private interface FloatAt {
        float get(int i);
    }

    private interface IntAt {
        int get(int i);
    }

    private static float[] convert(int count, FloatAt source) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = source.get(i);
        }
        return values;
    }

    private byte[] pixels(Dataset dataset, int count, IntAt source) {
        byte[] values = new byte[count];
        for (int i = 0; i < count; i++) {
            int value = source.get(i);
            if (value < 0 || value > 255) {
                throw malformed(dataset.getPath() + " holds " + value, "pixels lie between 0 and 255");
            }
            values[i] = (byte) value;
        }
        return values;
    }

    private float exact(Dataset dataset, long value) {
        if (value > 1 << 24 || value < -(1 << 24)) {
            throw malformed(dataset.getPath() + " holds " + value, "whole numbers are exact up to 2^24 only");
        }
        return value;
    }

    private float truth(Dataset dataset, String text) {
        if (!"TRUE".equalsIgnoreCase(text) && !"FALSE".equalsIgnoreCase(text)) {
            throw malformed(dataset.getPath() + " holds the text '" + text + "'", "booleans or numbers are needed");
        }
        return "TRUE".equalsIgnoreCase(text) ? 1 : 0;
    }

    MalformedDatasetException malformed(String what, String why) {
        return new MalformedDatasetException(
                "HDF5 file " + file + ": " + what, why, "restore the file from its source, or leave it out");
    }

    private static String path(Group group) {
        String path = group.getPath();
        return path.endsWith("/") ? path : path + "/";
    }

    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            guarded(file, () -> {
                hdf.close();
                return Boolean.TRUE;
            });
            arena.close();
        }
    }

    /** jHDF meets damaged bytes with many kinds of exception; all of them mean the same here. */
    static <T> T guarded(Path file, Supplier<T> call) {
        try {
            return call.get();
        } catch (DatasetException e) {
            throw e;
        } catch (RuntimeException | OutOfMemoryError | StackOverflowError e) {
            throw new MalformedDatasetException(
                    "HDF5 file " + file + " cannot be decoded",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "the file is damaged, cut off or no HDF5: restore it from its source",
                    e);
        }
    }
}
