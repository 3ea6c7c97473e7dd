"""What the simulated world is made of: kinds of shops with their prices and hours, and the words that name them.

Names are put together from words of our own; places are public station areas. No company and no person is meant.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PriceStyle = Literal["shelf", "ten", "tag", "hundred", "fare", "exact"]
"""How prices of a trade end: tax on a shelf price, whole tens, tags ending in 90, whole hundreds, fares, any yen."""


class Trade(NamedTuple):
    """A kind of shop. ``hours`` has a digit per JST hour from 0: how busy it is, 0 when closed."""

    mcc: str
    patterns: tuple[str, ...]
    share: int
    """Merchants of this trade per thousand."""
    median_minor: int
    sigma: float
    """Spread of the log-normal amounts."""
    style: PriceStyle
    hours: str
    weekend_percent: int
    codes: tuple[str, ...]
    branches_max: int
    """Stores of the largest chains; 0 for a merchant without a shop."""


_SHOP = ("MPM_STATIC", "MPM_DYNAMIC", "CPM")
_SMALL = ("MPM_STATIC", "MPM_STATIC", "MPM_DYNAMIC")
_TILL = ("CPM", "CPM", "MPM_DYNAMIC")

TRADES: tuple[Trade, ...] = (
    Trade("5499", ("コンビニ{}", "{}ストア"), 60, 640, 0.65, "shelf", "322222369777987766788764", 95, _TILL, 60),
    Trade("5411", ("スーパー{}", "{}市場"), 70, 2_300, 0.75, "shelf", "000000013677766568987530", 120, _TILL, 24),
    Trade("5814", ("カフェ{}", "喫茶{}"), 110, 620, 0.45, "ten", "000000378877887765432100", 130, _SHOP, 20),
    Trade(
        "5812", ("ラーメン{}", "{}食堂", "{}寿司"), 170, 1_250, 0.50, "ten", "210000000013984223799742", 125, _SHOP, 14
    ),
    Trade("5813", ("居酒屋{}", "酒場{}"), 80, 3_900, 0.50, "ten", "531000000000000014799987", 120, _SMALL, 8),
    Trade("5912", ("ドラッグ{}", "{}薬局"), 60, 1_480, 0.70, "shelf", "000000000367776667788530", 115, _TILL, 26),
    Trade("5462", ("{}ベーカリー", "パン工房{}"), 50, 760, 0.40, "ten", "000000047887754445530000", 120, _SMALL, 4),
    Trade("5942", ("{}書房", "ブックス{}"), 30, 1_540, 0.50, "tag", "000000000045666666777400", 135, _SHOP, 6),
    Trade("5651", ("{}衣料", "洋品{}"), 55, 4_980, 0.60, "tag", "000000000025667777777300", 170, _SHOP, 12),
    Trade("5732", ("{}電機", "カメラの{}"), 20, 9_800, 0.90, "tag", "000000000035667777777300", 165, _TILL, 8),
    Trade("5541", ("{}石油", "{}燃料"), 35, 4_300, 0.35, "exact", "111111345666666677765432", 125, _TILL, 16),
    Trade("4121", ("{}タクシー", "{}交通"), 35, 1_500, 0.55, "fare", "753212467655555556678998", 90, _TILL, 3),
    Trade("7523", ("{}パーキング",), 30, 700, 0.60, "hundred", "321111356777777777766543", 130, ("MPM_DYNAMIC",), 12),
    Trade("7230", ("ヘアサロン{}", "理容{}"), 50, 4_700, 0.35, "hundred", "000000000266666677765100", 160, _SMALL, 3),
    Trade("7832", ("{}シネマ",), 8, 1_900, 0.35, "hundred", "000000000356677778877520", 190, _TILL, 5),
    Trade("8011", ("{}クリニック", "{}歯科"), 35, 2_100, 0.55, "ten", "000000000688730477651000", 20, _SMALL, 1),
    Trade("5311", ("{}百貨店",), 7, 5_400, 0.80, "tag", "000000000028888888886000", 160, _TILL, 3),
    Trade("5200", ("ホームセンター{}",), 15, 3_100, 0.75, "shelf", "000000001577777777653000", 165, _TILL, 9),
    Trade("5941", ("{}スポーツ",), 15, 4_400, 0.70, "tag", "000000000024566666777400", 170, _SHOP, 7),
    Trade("5969", ("{}オンライン", "通販{}"), 45, 2_980, 0.80, "tag", "653222234555666556679998", 110, ("ONLINE",), 0),
    Trade("4900", ("{}電力", "{}水道"), 12, 7_200, 0.45, "exact", "211112345666666655566543", 80, ("BILL",), 0),
    Trade("5499", ("屋台{}", "{}商店"), 8, 500, 0.30, "hundred", "111111111111222223444332", 220, ("MPM_STATIC",), 1),
)

ALWAYS_THERE = (0, 19, 3, 2)
"""Trades of the first merchants, whatever their number: some shop is open at any hour, in a world of any size."""

NOUNS = (
    "小判", "千両", "月見", "こはく", "みずいろ", "若竹", "花筏", "霧笛", "白樺", "ひだまり", "灯台", "朝凪", "夕凪",
    "山茶花", "青海波", "八重雲", "小春日", "五月雨", "虹色", "金魚", "鈴音", "風車", "木漏れ日", "雪洞", "縁側",
    "波止場", "七宝", "市松", "矢絣", "露草", "桔梗", "撫子", "雲雀", "瑠璃", "茜雲", "浅葱", "萌黄", "とんび",
    "つくし", "どんぐり", "こだま", "せせらぎ", "まつかさ", "うたたね", "ゆずりは", "ほたるび",
    "かざぐるま", "わたぐも", "砂時計", "羅針盤", "三日月", "十六夜", "すずめ", "かもめ", "みみずく", "たんぽぽ",
    "れんげ", "くるみ", "かりん", "あけび",
)  # fmt: skip
PREFIXES = ("", "新", "元祖", "ひがし", "にし", "みなみ", "きた", "まる", "大", "小", "本家", "二代目", "三代目", "奥")


class Area(NamedTuple):
    """A place with people and shops. ``weight`` is how many of both, relative to the others."""

    name: str
    weight: int


AREAS: tuple[Area, ...] = tuple(
    Area(name, weight)
    for weight, names in (
        (9, "渋谷 新宿 池袋 梅田 横浜 名古屋"),
        (6, "吉祥寺 上野 難波 札幌 川崎 天神 博多 大宮 京都 三宮 仙台 広島"),
        (3, "立川 町田 藤沢 浦和 川越 千葉 船橋 柏 天王寺 堺 静岡 浜松 新潟 岡山 熊本"),
        (2, "宇都宮 高崎 水戸 金沢 長野 姫路 奈良 鹿児島 那覇 小倉 高松 松山"),
        (1, "旭川 盛岡 豊橋 岐阜 和歌山 松江 大分 宮崎 青森 福井"),
    )
    for name in names.split()
)
BRANCHES = ("駅前店", "2号店", "北口店", "南口店", "中央通り店", "西口店", "本町店", "東口店", "3号店", "公園前店")

BANKS = ("bank-aoba", "bank-minato", "bank-hinode", "bank-seiran")
"""Made-up banks behind top-ups and payouts."""
ACQUIRERS = ("acq-tsubasa", "acq-hikari")
CARRIERS = ("carrier-nagi", "carrier-sora")
