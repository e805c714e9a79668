package ai.lram.cli.config;

import com.typesafe.config.Config;
import com.typesafe.config.ConfigException;
import com.typesafe.config.ConfigFactory;
import com.typesafe.config.ConfigParseOptions;
import com.typesafe.config.ConfigUtil;
import com.typesafe.config.ConfigValue;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Reads settings files over the defaults of {@code reference.conf}. */
public final class Settings {
    private static final ConfigParseOptions STRICT =
            ConfigParseOptions.defaults().setAllowMissing(false);

    private Settings() {}

    /** The defaults of every module. */
    public static Config defaults() {
        return ConfigFactory.defaultReference();
    }

    /**
     * A file over the defaults.
     *
     * @param sections paths the file may set, e.g. {@code lram.train}
     * @throws InputException if the file cannot be read, is no HOCON, or sets keys that nobody knows
     */
    public static Config load(Optional<Path> file, List<String> sections) {
        return load(file, sections, defaults());
    }

    /** As {@link #load(Optional, List)}, over {@code base} in place of the defaults. */
    public static Config load(Optional<Path> file, List<String> sections, Config base) {
        if (file.isEmpty()) {
            return base;
        }
        Path path = file.get();
        if (!Files.isRegularFile(path)) {
            throw new InputException("cannot read the settings " + path, "there is no such file", "name a .conf file");
        }
        try {
            return over(ConfigFactory.parseFile(path.toFile(), STRICT), path.toString(), sections, base);
        } catch (ConfigException e) {
            throw unusable(path.toString(), e);
        }
    }

    /** A file on the class path over the defaults. */
    public static Config resource(String name, List<String> sections) {
        try {
            return over(
                    ConfigFactory.parseResources(Settings.class.getClassLoader(), name, STRICT),
                    name,
                    sections,
                    defaults());
        } catch (ConfigException e) {
            throw unusable(name, e);
        }
    }

    /** Text over the defaults; {@code name} stands for it in messages. */
    public static Config text(String text, String name, List<String> sections) {
        try {
            return over(ConfigFactory.parseString(text), name, sections, defaults());
        } catch (ConfigException e) {
            throw unusable(name, e);
        }
    }

    private static Config over(Config given, String name, List<String> sections, Config defaults) {
        Config settings = given.resolveWith(defaults);
        for (Map.Entry<String, ConfigValue> e : settings.entrySet()) {
            String key = e.getKey();
            if (sections.stream().noneMatch(s -> key.startsWith(s + "."))) {
                throw new InputException(
                        name + " sets " + key,
                        "this command reads " + String.join(", ", sections) + " only",
                        "remove the key");
            }
            if (!defaults.hasPathOrNull(key)) {
                String section = key.substring(0, key.lastIndexOf('.'));
                throw new InputException(
                        name + " sets the unknown key " + key + at(e.getValue()),
                        defaults.hasPath(section)
                                ? section + " has "
                                        + defaults.getConfig(section).root().keySet().stream()
                                                .sorted()
                                                .toList()
                                : "there is no section " + ConfigUtil.splitPath(section),
                        "correct or remove it");
            }
        }
        return settings.withFallback(defaults);
    }

    private static String at(ConfigValue value) {
        return value.origin().lineNumber() < 0
                ? ""
                : " in line " + value.origin().lineNumber();
    }

    /** What typesafe config found wrong, as our error. */
    public static InputException unusable(String name, ConfigException e) {
        return new InputException(
                name + " cannot be used",
                e.getMessage(),
                "correct it; reference.conf shows every key with its range",
                e);
    }
}
