package ai.lram.cli.config;

import com.typesafe.config.Config;
import com.typesafe.config.ConfigException;

/**
 * The section {@code lram.demo}.
 *
 * @param dataEpisodes training episodes generated per task, at least
 * @param dataSteps steps of them per task, at least
 * @param dataSeed first seed of these
 * @param driveEpisodes unseen episodes driven per task
 * @param sessionsPerTask robots per task at once
 * @param rateHz control steps per second of real time
 * @param referenceEpisodes unseen episodes behind the returns of random actions and experts
 * @param warmUpSeconds driving before anything is measured
 * @param serverThreads worker threads of the server's policy, 0 for all processors
 */
public record DemoSettings(
        int dataEpisodes,
        long dataSteps,
        long dataSeed,
        int driveEpisodes,
        int sessionsPerTask,
        double rateHz,
        int referenceEpisodes,
        double warmUpSeconds,
        int serverThreads) {
    /** The section. */
    public static final String SECTION = "lram.demo";

    public DemoSettings {
        require(dataEpisodes >= 2, "data-episodes", dataEpisodes, "2 or more: some are held out");
        require(dataSteps >= 0, "data-steps", dataSteps, "0 or more");
        require(dataSeed >= 0, "data-seed", dataSeed, "0 or more");
        require(driveEpisodes >= 1, "drive-episodes", driveEpisodes, "1 or more");
        require(sessionsPerTask >= 1 && sessionsPerTask <= 100, "sessions-per-task", sessionsPerTask, "1 to 100");
        require(rateHz > 0 && rateHz <= 1000, "rate-hz", rateHz, "above 0, up to 1000");
        require(referenceEpisodes >= 1, "reference-episodes", referenceEpisodes, "1 or more");
        require(warmUpSeconds >= 0 && warmUpSeconds <= 600, "warm-up-seconds", warmUpSeconds, "0 to 600");
        require(serverThreads >= 0 && serverThreads <= 1024, "server-threads", serverThreads, "0 to 1024");
    }

    private static void require(boolean ok, String key, Number value, String range) {
        if (!ok) {
            throw new InputException(
                    SECTION + "." + key + " cannot be " + value,
                    "its range is " + range,
                    "choose a value in that range");
        }
    }

    /** @throws InputException if a value is missing, of the wrong type or out of range */
    public static DemoSettings read(Config root, String name) {
        try {
            Config c = root.getConfig(SECTION);
            return new DemoSettings(
                    c.getInt("data-episodes"),
                    c.getLong("data-steps"),
                    c.getLong("data-seed"),
                    c.getInt("drive-episodes"),
                    c.getInt("sessions-per-task"),
                    c.getDouble("rate-hz"),
                    c.getInt("reference-episodes"),
                    c.getDouble("warm-up-seconds"),
                    c.getInt("server-threads"));
        } catch (ConfigException e) {
            throw Settings.unusable(name, e);
        }
    }
}
