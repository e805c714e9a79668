package ai.lram.dataset.format;

import ai.lram.dataset.DatasetException;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.MalformedDatasetException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.parquet.ParquetReadOptions;
import org.apache.parquet.column.ColumnDescriptor;
import org.apache.parquet.column.ColumnReader;
import org.apache.parquet.column.impl.ColumnReadStoreImpl;
import org.apache.parquet.column.page.PageReadStore;
import org.apache.parquet.conf.PlainParquetConfiguration;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.io.LocalInputFile;
import org.apache.parquet.io.api.Converter;
import org.apache.parquet.io.api.GroupConverter;
import org.apache.parquet.io.api.PrimitiveConverter;
import org.apache.parquet.schema.GroupType;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.PrimitiveType;
import org.apache.parquet.schema.Type;

/**
 * Reads chosen columns of a parquet file, row group by row group, straight into primitive arrays. Lists of fixed width
 * (nested ones too) come out row-major. Column names are taken literally: dots and slashes belong to them.
 */
final class ParquetColumns implements AutoCloseable {
    private final Path file;
    private final ParquetFileReader reader;
    private final MessageType schema;
    private final long rows;
    private MessageType projection;

    /** How one column is to be decoded. */
    enum As {
        FLOATS,
        LONGS,
        STRINGS,
        BYTES,
        /** Lists of any length: double[] per row. */
        DOUBLE_LISTS,
        /** Lists of any length: String[] per row. */
        STRING_LISTS
    }

    /** One wanted column: values per row for FLOATS and LONGS, else ignored. */
    record Want(String name, As as, int width) {}

    /** The values of one column in one row group; a value at definition level {@code present} is there. */
    private record Leaf(ColumnReader values, long count, int present, PrimitiveType.PrimitiveTypeName type) {}

    /** One decoded row group. */
    static final class Group {
        private final Map<String, Object> columns = new LinkedHashMap<>();
        private final int rows;

        Group(int rows) {
            this.rows = rows;
        }

        int rows() {
            return rows;
        }

        float[] floats(String name) {
            return (float[]) columns.get(name);
        }

        long[] longs(String name) {
            return (long[]) columns.get(name);
        }

        String[] strings(String name) {
            return (String[]) columns.get(name);
        }

        byte[][] bytes(String name) {
            return (byte[][]) columns.get(name);
        }

        double[][] doubleLists(String name) {
            return (double[][]) columns.get(name);
        }

        String[][] stringLists(String name) {
            return (String[][]) columns.get(name);
        }
    }

    private ParquetColumns(Path file, ParquetFileReader reader) {
        this.file = file;
        this.reader = reader;
        this.schema = reader.getFileMetaData().getSchema();
        this.rows = reader.getRecordCount();
    }

    static ParquetColumns open(Path file) {
        if (!Files.isRegularFile(file)) {
            throw new DatasetReadException(
                    "parquet file " + file + " is missing",
                    "the data set's tables name it",
                    "copy the data set completely");
        }
        ParquetReadOptions options = ParquetReadOptions.builder(new PlainParquetConfiguration())
                .withCodecFactory(new Codecs())
                .usePageChecksumVerification(true)
                .build();
        return guarded(file, () -> new ParquetColumns(file, ParquetFileReader.open(new LocalInputFile(file), options)));
    }

    long rows() {
        return rows;
    }

    boolean has(String name) {
        return schema.containsField(name);
    }

    List<String> names() {
        return schema.getFields().stream().map(Type::getName).toList();
    }

    /** Bytes held by the file's columns once decompressed, as its footer claims. */
    private long claimedBytes() {
        return reader.getRowGroups().stream()
                .mapToLong(block -> block.getTotalByteSize())
                .sum();
    }

    /** The next row group with these columns, the same list at every call; null after the last. */
    Group next(List<Want> wants) {
        return guarded(file, () -> read(wants));
    }

    /** All row groups of a small table as one. */
    Group all(List<Want> wants) {
        if (rows > Integer.MAX_VALUE / 16 || claimedBytes() < 0) {
            throw malformed("it claims " + rows + " rows", "a table of this kind is small");
        }
        List<Group> groups = new ArrayList<>();
        int total = 0;
        for (Group group = next(wants); group != null; group = next(wants)) {
            groups.add(group);
            total += group.rows;
        }
        Group result = new Group(total);
        for (Want want : wants) {
            result.columns.put(want.name, concatenate(want, groups));
        }
        return result;
    }

    private static Object concatenate(Want want, List<Group> groups) {
        return switch (want.as) {
            case FLOATS -> {
                int size = groups.stream()
                        .mapToInt(group -> group.floats(want.name).length)
                        .sum();
                float[] joined = new float[size];
                int at = 0;
                for (Group group : groups) {
                    float[] part = group.floats(want.name);
                    System.arraycopy(part, 0, joined, at, part.length);
                    at += part.length;
                }
                yield joined;
            }
            case LONGS ->
                groups.stream()
                        .flatMapToLong(group -> Arrays.stream(group.longs(want.name)))
                        .toArray();
            case STRINGS ->
                groups.stream()
                        .flatMap(group -> Arrays.stream(group.strings(want.name)))
                        .toArray(String[]::new);
            case BYTES ->
                groups.stream()
                        .flatMap(group -> Arrays.stream(group.bytes(want.name)))
                        .toArray(byte[][]::new);
            case DOUBLE_LISTS ->
                groups.stream()
                        .flatMap(group -> Arrays.stream(group.doubleLists(want.name)))
                        .toArray(double[][]::new);
            case STRING_LISTS ->
                groups.stream()
                        .flatMap(group -> Arrays.stream(group.stringLists(want.name)))
                        .toArray(String[][]::new);
        };
    }

    private Group read(List<Want> wants) throws IOException {
        if (projection == null) {
            List<Type> types = new ArrayList<>();
            for (Want want : wants) {
                if (!has(want.name)) {
                    throw malformed("column " + want.name + " is missing", "the file has " + names());
                }
                types.add(schema.getType(want.name));
            }
            projection = new MessageType(schema.getName(), types);
            reader.setRequestedSchema(projection);
        }
        PageReadStore pages = reader.readNextRowGroup();
        if (pages == null) {
            return null;
        }
        long count = pages.getRowCount();
        if (count < 0 || count > Integer.MAX_VALUE / 2) {
            throw malformed("a row group claims " + count + " rows", "at most 2^30 are read");
        }
        ColumnReadStoreImpl store = new ColumnReadStoreImpl(
                pages,
                new Unused(projection),
                projection,
                reader.getFileMetaData().getCreatedBy());
        Group group = new Group((int) count);
        Map<String, ColumnDescriptor> leaves = new HashMap<>();
        for (ColumnDescriptor leaf : projection.getColumns()) {
            String[] path = leaf.getPath();
            if (path.length < 2 || !path[path.length - 1].equals("path")) {
                leaves.put(path[0], leaf);
            }
        }
        for (Want want : wants) {
            ColumnDescriptor column = leaves.get(want.name);
            Leaf leaf = new Leaf(
                    store.getColumnReader(column),
                    pages.getPageReader(column).getTotalValueCount(),
                    column.getMaxDefinitionLevel(),
                    column.getPrimitiveType().getPrimitiveTypeName());
            group.columns.put(
                    want.name,
                    switch (want.as) {
                        case FLOATS -> floats(want, leaf, group.rows);
                        case LONGS -> longs(want, leaf, group.rows);
                        case STRINGS -> strings(want, leaf, group.rows);
                        case BYTES -> bytes(want, leaf, group.rows);
                        case DOUBLE_LISTS -> doubleLists(want, leaf, group.rows);
                        case STRING_LISTS -> stringLists(want, leaf, group.rows);
                    });
        }
        return group;
    }

    /** Checks that exactly {@code width} present values make up a row, before memory is taken for them. */
    private int checkedSize(Want want, Leaf leaf, int rows) {
        long expected = (long) rows * want.width;
        if (leaf.count != expected || expected > Integer.MAX_VALUE - 8) {
            throw malformed(
                    "column " + want.name + " has " + leaf.count + " values in " + rows + " rows",
                    "its shape in meta/info.json needs " + want.width + " a row");
        }
        return (int) expected;
    }

    private void checkPlace(Want want, Leaf leaf, int i) {
        ColumnReader values = leaf.values;
        if (values.getCurrentDefinitionLevel() != leaf.present) {
            throw malformed(
                    "column " + want.name + " has no value in row " + i / want.width, "every row needs all its values");
        }
        if ((i % want.width == 0) != (values.getCurrentRepetitionLevel() == 0)) {
            throw malformed(
                    "column " + want.name + " has a row of another length near row " + i / want.width,
                    "its shape in meta/info.json needs " + want.width + " a row");
        }
    }

    private float[] floats(Want want, Leaf leaf, int rows) {
        float[] result = new float[checkedSize(want, leaf, rows)];
        PrimitiveType.PrimitiveTypeName type = leaf.type;
        ColumnReader values = leaf.values;
        switch (type) {
            case FLOAT -> {
                for (int i = 0; i < result.length; i++, values.consume()) {
                    checkPlace(want, leaf, i);
                    result[i] = values.getFloat();
                }
            }
            case DOUBLE -> {
                for (int i = 0; i < result.length; i++, values.consume()) {
                    checkPlace(want, leaf, i);
                    result[i] = (float) values.getDouble();
                }
            }
            case INT32 -> {
                for (int i = 0; i < result.length; i++, values.consume()) {
                    checkPlace(want, leaf, i);
                    result[i] = exact(want, values.getInteger());
                }
            }
            case INT64 -> {
                for (int i = 0; i < result.length; i++, values.consume()) {
                    checkPlace(want, leaf, i);
                    result[i] = exact(want, values.getLong());
                }
            }
            case BOOLEAN -> {
                for (int i = 0; i < result.length; i++, values.consume()) {
                    checkPlace(want, leaf, i);
                    result[i] = values.getBoolean() ? 1 : 0;
                }
            }
            default -> throw malformed("column " + want.name + " holds " + type, "numbers are needed");
        }
        return result;
    }

    private float exact(Want want, long value) {
        if (value > 1 << 24 || value < -(1 << 24)) {
            throw malformed("column " + want.name + " holds " + value, "whole numbers are exact up to 2^24 only");
        }
        return value;
    }

    private long[] longs(Want want, Leaf leaf, int rows) {
        long[] result = new long[checkedSize(want, leaf, rows)];
        PrimitiveType.PrimitiveTypeName type = leaf.type;
        ColumnReader values = leaf.values;
        if (type != PrimitiveType.PrimitiveTypeName.INT64 && type != PrimitiveType.PrimitiveTypeName.INT32) {
            throw malformed("column " + want.name + " holds " + type, "whole numbers are needed");
        }
        for (int i = 0; i < result.length; i++, values.consume()) {
            checkPlace(want, leaf, i);
            result[i] = type == PrimitiveType.PrimitiveTypeName.INT64 ? values.getLong() : values.getInteger();
        }
        return result;
    }

    private void requireBinary(Want want, Leaf leaf) {
        if (leaf.type != PrimitiveType.PrimitiveTypeName.BINARY) {
            throw malformed("column " + want.name + " holds " + leaf.type, "bytes are needed");
        }
    }

    private String[] strings(Want want, Leaf leaf, int rows) {
        requireBinary(want, leaf);
        Want one = new Want(want.name, want.as, 1);
        ColumnReader values = leaf.values;
        String[] result = new String[checkedSize(one, leaf, rows)];
        for (int i = 0; i < result.length; i++, values.consume()) {
            checkPlace(one, leaf, i);
            result[i] = values.getBinary().toStringUsingUTF8();
        }
        return result;
    }

    private byte[][] bytes(Want want, Leaf leaf, int rows) {
        requireBinary(want, leaf);
        Want one = new Want(want.name, want.as, 1);
        ColumnReader values = leaf.values;
        byte[][] result = new byte[checkedSize(one, leaf, rows)][];
        for (int i = 0; i < result.length; i++, values.consume()) {
            checkPlace(one, leaf, i);
            result[i] = values.getBinary().getBytes();
        }
        return result;
    }

    private double[][] doubleLists(Want want, Leaf leaf, int rows) {
        PrimitiveType.PrimitiveTypeName type = leaf.type;
        ColumnReader values = leaf.values;
        List<double[]> result = new ArrayList<>();
        double[] row = new double[4];
        int size = 0;
        long count = leaf.count;
        for (long i = 0; i < count; i++, values.consume()) {
            if (values.getCurrentRepetitionLevel() == 0 && i > 0) {
                result.add(Arrays.copyOf(row, size));
                size = 0;
            }
            if (values.getCurrentDefinitionLevel() == leaf.present) {
                if (size == row.length) {
                    row = Arrays.copyOf(row, size * 2);
                }
                row[size++] = switch (type) {
                    case DOUBLE -> values.getDouble();
                    case FLOAT -> values.getFloat();
                    case INT64 -> values.getLong();
                    case INT32 -> values.getInteger();
                    default -> throw malformed("column " + want.name + " holds " + type, "numbers are needed");
                };
            }
        }
        if (count > 0) {
            result.add(Arrays.copyOf(row, size));
        }
        checkRows(want, result.size(), rows);
        return result.toArray(double[][]::new);
    }

    private String[][] stringLists(Want want, Leaf leaf, int rows) {
        requireBinary(want, leaf);
        List<String[]> result = new ArrayList<>();
        ColumnReader values = leaf.values;
        List<String> row = new ArrayList<>();
        long count = leaf.count;
        for (long i = 0; i < count; i++, values.consume()) {
            if (values.getCurrentRepetitionLevel() == 0 && i > 0) {
                result.add(row.toArray(String[]::new));
                row.clear();
            }
            if (values.getCurrentDefinitionLevel() == leaf.present) {
                row.add(values.getBinary().toStringUsingUTF8());
            }
        }
        if (count > 0) {
            result.add(row.toArray(String[]::new));
        }
        checkRows(want, result.size(), rows);
        return result.toArray(String[][]::new);
    }

    private void checkRows(Want want, int found, int rows) {
        if (found != rows) {
            throw malformed("column " + want.name + " has " + found + " rows", "the row group has " + rows);
        }
    }

    private MalformedDatasetException malformed(String what, String why) {
        return new MalformedDatasetException(
                "parquet file " + file + ": " + what, why, "restore the file or correct the data set's meta folder");
    }

    @Override
    public void close() {
        guarded(file, () -> {
            reader.close();
            return null;
        });
    }

    private interface Call<T> {
        T run() throws IOException;
    }

    /** The parquet library meets damaged bytes with many kinds of exception; all of them mean the same here. */
    private static <T> T guarded(Path file, Call<T> call) {
        try {
            return call.run();
        } catch (DatasetException e) {
            throw e;
        } catch (NoSuchFileException | FileNotFoundException e) {
            throw new DatasetReadException(
                    "parquet file " + file + " cannot be opened",
                    String.valueOf(e.getMessage()),
                    "check path and permissions",
                    e);
        } catch (IOException | RuntimeException e) {
            throw new MalformedDatasetException(
                    "parquet file " + file + " cannot be decoded",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "the file is damaged or cut off: restore it from its source",
                    e);
        } catch (OutOfMemoryError e) {
            throw new MalformedDatasetException(
                    "parquet file " + file + " cannot be decoded",
                    "a page claims more memory than there is: " + e.getMessage(),
                    "restore the file from its source, or raise the heap (-Xmx) if it is really that large",
                    new IOException(e));
        }
    }

    /** The column reader wants a converter tree; values are taken from the reader itself, so it is never called. */
    private static final class Unused extends GroupConverter {
        private final GroupType type;

        Unused(GroupType type) {
            this.type = type;
        }

        @Override
        public Converter getConverter(int field) {
            Type child = type.getType(field);
            return child.isPrimitive() ? new UnusedLeaf() : new Unused(child.asGroupType());
        }

        @Override
        public void start() {
            throw new IllegalStateException("columns are read without record assembly");
        }

        @Override
        public void end() {
            throw new IllegalStateException("columns are read without record assembly");
        }
    }

    private static final class UnusedLeaf extends PrimitiveConverter {}
}
