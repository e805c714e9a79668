package ai.lram.dataset.format;

import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.UnsupportedFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** Finds out which format a path holds and opens the reader for it. */
public final class DatasetFormats {
    private static final byte[] HDF5_MAGIC = {(byte) 0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    private static final String KNOWN =
            "known are LeRobot v2.0, v2.1 and v3.0 (a folder with meta/info.json), Minari (a folder with"
                    + " data/main_data.hdf5), D4RL (an .hdf5 file with observations, actions, rewards, terminals) and"
                    + " RLDS (a folder with features.json, dataset_info.json and TFRecord files, or one above it)";
    private static final int SHOWN = 5;

    private DatasetFormats() {}

    /** As {@link #open(Path, ReaderOptions)} with {@link ReaderOptions#defaults()}. */
    public static DatasetReader open(Path path) {
        return open(path, ReaderOptions.defaults());
    }

    /**
     * Opens a data set of any known format.
     *
     * @throws DatasetReadException if there is nothing at {@code path}
     * @throws UnsupportedFormatException if it is none of the known formats; the message lists them
     * @throws ai.lram.dataset.MalformedDatasetException if it is one of them, but damaged
     */
    public static DatasetReader open(Path path, ReaderOptions options) {
        if (!Files.exists(path)) {
            throw new DatasetReadException(
                    "data set " + path + " was not opened",
                    Files.exists(path, LinkOption.NOFOLLOW_LINKS)
                            ? "it is a link to nothing"
                            : "there is nothing of that name",
                    "check the path");
        }
        if (Files.isDirectory(path)) {
            return openFolder(path, options);
        }
        if (!isHdf5(path)) {
            String name = path.getFileName().toString().toLowerCase(Locale.ROOT);
            String why = name.endsWith(".pkl") || name.endsWith(".pickle")
                    ? "pickle files can run code when they are read and are refused"
                    : RldsReader.isRecords(name)
                            ? "one file of an RLDS data set is read together with its folder"
                            : "its content is of no known format";
            throw unsupported(path, why);
        }
        requireNoRldsOptions(path, options);
        boolean minari;
        try (Hdf5 hdf = Hdf5.open(path)) {
            minari = hdf.child(hdf.root(), "episode_0").isPresent();
        }
        return minari ? minari(path, options) : d4rl(path, options);
    }

    private static DatasetReader minari(Path path, ReaderOptions options) {
        refuse(
                path,
                options.imageFeature().isPresent(),
                "an image is chosen, and images of Minari data sets are observations");
        return MinariReader.open(path, options);
    }

    private static DatasetReader d4rl(Path path, ReaderOptions options) {
        refuse(
                path,
                !options.observationFeatures().isEmpty()
                        || options.imageFeature().isPresent(),
                "observations or an image are chosen, and a D4RL file has one array of observations");
        return D4rlReader.open(path, options);
    }

    private static DatasetReader openFolder(Path path, ReaderOptions options) {
        if (Files.isRegularFile(path.resolve(LeRobotInfo.INFO))) {
            requireNoRldsOptions(path, options);
            return LeRobotReader.open(path, options);
        }
        if (MinariReader.mainFile(path).isPresent()) {
            requireNoRldsOptions(path, options);
            return minari(path, options);
        }
        if (RldsReader.isPrepared(path)) {
            return RldsReader.open(path, options);
        }
        List<Path> below = RldsReader.preparedBelow(path);
        if (below.isEmpty()) {
            throw unsupported(path, "the folder holds none of the files that mark a known format");
        }
        if (below.size() > 1) {
            throw new UnsupportedFormatException(
                    "data set " + path + " was not opened",
                    "the folder holds " + below.size() + " RLDS data sets",
                    "name one of " + below.stream().limit(SHOWN).toList());
        }
        return RldsReader.open(below.getFirst(), options);
    }

    private static void requireNoRldsOptions(Path path, ReaderOptions options) {
        refuse(path, !options.splits().isEmpty(), "splits are chosen, and only RLDS data sets have them");
        refuse(path, options.keepLastStep(), "last steps are to be kept, and only RLDS data sets mark them");
    }

    /** An option that the format would ignore is refused instead. */
    private static void refuse(Path path, boolean given, String why) {
        if (given) {
            throw new UnsupportedFormatException(
                    "data set " + path + " was not opened", why, "import it without this option");
        }
    }

    private static boolean isHdf5(Path path) {
        try (var in = Files.newInputStream(path)) {
            return Arrays.equals(in.readNBytes(HDF5_MAGIC.length), HDF5_MAGIC);
        } catch (IOException e) {
            throw new DatasetReadException(
                    "data set " + path + " was not opened",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "check permissions and the device",
                    e);
        }
    }

    private static UnsupportedFormatException unsupported(Path path, String why) {
        return new UnsupportedFormatException("data set " + path + " was not opened", why, "convert it; " + KNOWN);
    }
}
